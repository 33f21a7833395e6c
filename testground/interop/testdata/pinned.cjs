// Uses a commit of the Hub at argv[2] through @huggingface/hub, and prints what it
// got as one JSON object. Run twice, it asks for the very same.
const { createHash } = require("node:crypto");
const { mkdtempSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const hub = require("@huggingface/hub");

const [, , hubUrl, revision, scratch] = process.argv;
const repo = "org/data-and-more";
console.debug = () => {};

(async () => {
  const listed = {};
  for await (const f of hub.listFiles({ repo, revision, recursive: true, hubUrl })) {
    if (f.type === "file") listed[f.path] = f.size;
  }
  const snapshot = await hub.snapshotDownload({ repo, revision, hubUrl, cacheDir: mkdtempSync(join(scratch, "cache-")) });
  const all = {};
  for (const path of Object.keys(listed)) {
    all[path] = createHash("sha256").update(readFileSync(join(snapshot, path))).digest("hex");
  }
  const paths = await hub.pathsInfo({ repo, revision, paths: Object.keys(listed), hubUrl });
  const weights = await hub.fileDownloadInfo({ repo, revision, path: "model.safetensors", hubUrl });
  const blob = await hub.downloadFile({ repo, revision, path: "model.safetensors", hubUrl });
  console.log(JSON.stringify({
    commit: (await hub.modelInfo({ name: repo, revision, additionalFields: ["sha"], hubUrl })).sha,
    listed,
    all,
    paths: paths.map((p) => p.path).sort(),
    size: weights.size,
    etag: weights.etag.replaceAll('"', ""),
    one: createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex"),
  }));
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
