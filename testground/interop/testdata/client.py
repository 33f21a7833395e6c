# Uses the Hub that HF_ENDPOINT names through huggingface_hub, and prints what it
# got as one JSON object: the test compares it with what the Hub was given.
import hashlib
import json
import os
import sys

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub import errors


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def tree(root):
    return {
        os.path.relpath(os.path.join(d, name), root): sha256(os.path.join(d, name))
        for d, _, names in os.walk(root) if ".cache" not in d for name in names
    }


def refused(call):
    try:
        call()
    except Exception as e:  # the test wants to see which
        return type(e).__name__
    return "nothing"


out, api = sys.argv[1], HfApi()
info = api.model_info("org/model")
listed = {e.path: e.size for e in api.list_repo_tree("org/model", recursive=True) if hasattr(e, "blob_id")}
answer = {
    "commit": info.sha,
    "listed": listed,
    "paths": sorted(p.path for p in api.get_paths_info("org/model", ["config.json", "weights/model.safetensors", "missing"])),
    "one": sha256(hf_hub_download("org/model", "weights/model.safetensors", local_dir=out + "/one")),
    "all": tree(snapshot_download("org/model", local_dir=out + "/all")),
    "some": tree(snapshot_download("org/model", local_dir=out + "/some", allow_patterns="weights/*")),
    "dataset": sha256(hf_hub_download("org/data", "train.csv", repo_type="dataset", local_dir=out + "/data")),
    "pinned": sha256(hf_hub_download("org/model", "config.json", revision=info.sha, local_dir=out + "/pinned")),
    "gated": sha256(hf_hub_download("org/gated", "secret.bin", token="good", local_dir=out + "/gated")),
    "size": get_hf_file_metadata(hf_hub_url("org/model", "weights/model.safetensors")).size,
    "etag": get_hf_file_metadata(hf_hub_url("org/model", "weights/model.safetensors")).etag,
    "refused": {
        "entry": refused(lambda: hf_hub_download("org/model", "missing.bin", local_dir=out + "/x")),
        "revision": refused(lambda: hf_hub_download("org/model", "config.json", revision="nowhere", local_dir=out + "/x")),
        "gated": refused(lambda: hf_hub_download("org/gated", "secret.bin", token=False, local_dir=out + "/x")),
    },
}
json.dump(answer, sys.stdout)
