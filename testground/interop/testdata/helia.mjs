// Exchanges content with a node by npm's helia, over bitswap: helia.mjs MODULES
// ADDRESS OURS BINARY REPO DIR. It fetches OURS (JSON: {name: root}) from the node at
// ADDRESS, has the node's command get what it adds itself into DIR, and prints what
// it saw as JSON; the test compares it. Needs Node 22.19.
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
const [modules, address, ours, binary, repo, dir] = process.argv.slice(2)
const load = (name) => import(pathToFileURL(`${modules}/${name}/dist/src/index.js`))
const [{ createHeliaLight }, { withLibp2pLight }, { withBitswap }, { unixfs }, { tcp }, { noise }, { yamux }, { identify }, { multiaddr }] = await Promise.all(
  ['helia', '@helia/libp2p', '@helia/bitswap', '@helia/unixfs', '@libp2p/tcp', '@libp2p/noise', '@libp2p/yamux', '@libp2p/identify', '@multiformats/multiaddr'].map(load))
const { fixedSize } = await import(pathToFileURL(modules + '/ipfs-unixfs-importer/dist/src/chunker/index.js'))
const { CID } = await import(pathToFileURL(modules + '/multiformats/dist/src/index.js'))

const helia = await withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()], services: { identify: identify() }
})).start()
const fs = unixfs(helia)
const signal = AbortSignal.timeout(120_000)
const digest = async (it) => { const h = createHash('sha256'); for await (const b of it) h.update(b); return h.digest('hex') }

const seen = { theirs: {}, ours: {} }
try {
  await helia.libp2p.dial(multiaddr(address), { signal })
  for (const [name, text] of Object.entries(JSON.parse(ours))) {
    const root = CID.parse(text)
    const { type } = await fs.stat(root, { signal })
    if (type !== 'directory') {
      seen.theirs[name] = await digest(fs.cat(root, { signal }))
      continue
    }
    const entries = []
    for await (const e of fs.ls(root, { signal })) entries.push(e)
    const last = entries.map(({ name }) => name).sort().at(-1)
    seen.theirs[name] = `${entries.length} ${last} ${await digest(fs.cat(root, { path: last, signal }))}`
  }

  const get = async (name, root) => promisify(execFile)(binary, ['--repo', repo, 'get', root.toString(), '-o', `${dir}/${name}`])
  const add = async (name, bytes, options) => {
    const root = await fs.addBytes(bytes, options)
    await get(name, root)
    seen.ours[name] = [root.toString(), createHash('sha256').update(bytes).digest('hex')]
  }
  await add('v1', randomBytes(5_000_000), { profile: 'unixfs-v1-2025' })
  await add('v0', randomBytes(3_000_000), { cidVersion: 0, rawLeaves: false, chunker: fixedSize({ chunkSize: 262_144 }) })
  let root
  const files = Array.from({ length: 40 }, (_, i) => ({ path: `tree/${i % 4}/file ${i}`, content: Buffer.from(`content ${i}`) }))
  for await (const e of fs.addAll(files, { profile: 'unixfs-v1-2025', shardSplitThresholdBytes: 1 })) root = e.cid
  await get('tree', root)
  seen.ours.tree = [root.toString()]
  seen.peers = helia.libp2p.getPeers().length
} finally {
  await helia.stop()
}
console.log(JSON.stringify(seen))
