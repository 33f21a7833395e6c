// Talks to a node by npm's kubo-rpc-client: rpc.mjs MODULES URL TOKEN. It prints
// what it saw as JSON; the test compares it.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
const [modules, url, token] = process.argv.slice(2)
const { create, CID } = await import(pathToFileURL(modules + '/kubo-rpc-client/dist/src/index.js'))
const client = create({ url: url + '/api/v0', headers: { authorization: 'Bearer ' + token } })
const all = async (it) => { const list = []; for await (const v of it) list.push(v); return list }
const bytes = async (it) => Buffer.concat(await all(it))
const refused = async (f) => { try { await f(); return 'done' } catch (err) { return err.message } }

const seen = {}
seen.version = (await client.version()).version
seen.agent = (await client.id()).agentVersion
seen.hello = (await client.add('hello world', { cidVersion: 1, rawLeaves: true })).cid.toString()
seen.v0 = (await client.add('hello world', { cidVersion: 0 })).cid.toString()
seen.only = (await client.add('only hashed', { onlyHash: true })).cid.toString()

const big = Buffer.alloc(5_000_000, 'abcdefghijklmnop')
const tree = await all(client.addAll([
  { path: 'tree/big.bin', content: big }, { path: 'tree/sub/ä b.txt', content: 'text' }, { path: 'tree/empty' }
], { wrapWithDirectory: true, cidVersion: 1, chunker: 'size-1048576', progress: () => {} }))
seen.tree = tree.map(({ path, cid }) => [path, cid.toString()])
const root = tree.find(({ path }) => path === 'tree').cid
seen.cat = (await bytes(client.cat(`${root}/big.bin`))).equals(big)
seen.range = (await bytes(client.cat(`${root}/big.bin`, { offset: 1048570, length: 12 }))).toString()
seen.ls = (await all(client.ls(root))).map(({ name, type, size }) => [name, type, size])

const key = await client.block.put(Buffer.from('a block'))
seen.block = [key.toString(), Buffer.from(await client.block.get(key)).toString(), (await client.block.stat(key)).size]
seen.removed = (await all(client.block.rm(key))).map(({ error }) => error == null)

const car = await bytes(client.dag.export(root))
seen.roots = (await all(client.dag.import([car]))).map(({ root }) => [root.cid.equals(root.cid), root.cid.toString()])
await client.pin.add(root, { name: 'by name' })
seen.pins = (await all(client.pin.ls({ names: true }))).filter(({ cid }) => cid.equals(root)).map(({ type, name }) => [type, name ?? '']).sort()
seen.unpinned = (await client.pin.rm(root)).toString()
seen.root = root.toString()
seen.absent = await refused(() => client.pin.rm(root))
await all(client.repo.gc())
seen.objects = Number((await client.repo.stat()).numObjects) > 0
seen.peers = (await client.swarm.peers()).length

seen.trickle = await refused(() => client.add('x', { trickle: true }))
seen.noToken = await refused(() => create({ url: url + '/api/v0' }).version())
console.log(JSON.stringify(seen))
