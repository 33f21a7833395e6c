# Uses commits of the Hub that HF_ENDPOINT names through huggingface_hub, and prints
# what it got as one JSON object. Run twice, it asks for the very same.
import hashlib
import json
import os
import sys

from huggingface_hub import HfApi, hf_hub_download, snapshot_download


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def refused(call):
    try:
        call()
    except Exception as e:  # the test wants to see which
        return type(e).__name__
    return "nothing"


api, commit, gated = HfApi(), sys.argv[1], sys.argv[2]
root = snapshot_download("org/model", revision=commit)
json.dump({
    "commit": api.model_info("org/model", revision=commit).sha,
    "listed": {e.path: e.size for e in api.list_repo_tree("org/model", revision=commit, recursive=True) if hasattr(e, "blob_id")},
    "paths": sorted(p.path for p in api.get_paths_info("org/model", ["config.json", "weights/model.safetensors"], revision=commit)),
    "all": {
        os.path.relpath(os.path.join(d, name), root): sha256(os.path.join(d, name)) for d, _, names in os.walk(root) for name in names
    },
    "gated": sha256(hf_hub_download("org/gated", "secret.bin", revision=gated, token="good")),
    "refused": {"entry": refused(lambda: hf_hub_download("org/model", "missing.bin", revision=commit))},
}, sys.stdout)
