// Uses the Hub at argv[2] through @huggingface/hub, and prints what it got as
// one JSON object: the test compares it with what the Hub was given.
const { createHash } = require("node:crypto");
const hub = require("@huggingface/hub");

const hubUrl = process.argv[2];
const sha256 = async (blob) => createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex");
const download = async (repo, path, more) => {
  const blob = await hub.downloadFile({ repo, path, hubUrl, ...more });
  return blob ? sha256(blob) : null;
};
const refused = async (call) => {
  try {
    await call();
  } catch (e) {
    return e.statusCode ?? String(e);
  }
  return "nothing";
};

(async () => {
  const listed = {};
  for await (const f of hub.listFiles({ repo: "org/model", recursive: true, hubUrl })) {
    if (f.type === "file") listed[f.path] = f.size;
  }
  const info = await hub.modelInfo({ name: "org/model", additionalFields: ["sha"], hubUrl });
  const all = {};
  // It asks for the first byte to learn a size, which no empty file has.
  for (const path of Object.keys(listed).filter((path) => listed[path] > 0)) all[path] = await download("org/model", path, { xet: false });
  const paths = await hub.pathsInfo({ repo: "org/model", paths: ["config.json", "weights/model.safetensors"], hubUrl });
  const weights = await hub.fileDownloadInfo({ repo: "org/model", path: "weights/model.safetensors", hubUrl });
  console.log(JSON.stringify({
    commit: info.sha,
    listed,
    paths: paths.map((p) => p.path).sort(),
    one: all["weights/model.safetensors"],
    all,
    dataset: await download({ type: "dataset", name: "org/data" }, "train.csv", { xet: false }),
    pinned: await download("org/model", "config.json", { revision: info.sha, xet: false }),
    gated: await download("org/gated", "secret.bin", { accessToken: "hf_good", xet: false }),
    size: weights.size,
    missing: await download("org/model", "missing.bin", { xet: false }),
    refused: {
      revision: await refused(() => hub.modelInfo({ name: "org/model", revision: "nowhere", hubUrl })),
      gated: await refused(() => download("org/gated", "secret.bin", { xet: false })),
    },
  }));
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
