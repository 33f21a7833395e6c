// Downloads files of the Hub at argv[2] through @huggingface/hub by Xet, and prints
// their sha256 as one JSON object.
const { createHash } = require("node:crypto");
const hub = require("@huggingface/hub");

const [, , hubUrl, ...names] = process.argv;

(async () => {
  const all = {};
  for (const path of names) {
    const blob = await hub.downloadFile({ repo: "org/model", path, hubUrl, xet: true });
    all[path] = createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex");
  }
  console.log(JSON.stringify(all));
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
