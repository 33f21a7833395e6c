# Downloads files of the Hub that HF_ENDPOINT names through huggingface_hub and
# hf_xet, and prints their sha256 as one JSON object.
import hashlib
import json
import sys

import hf_xet  # without it huggingface_hub would take another way
from huggingface_hub import hf_hub_download


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


out = sys.argv[1]
json.dump({name: sha256(hf_hub_download("org/model", name, local_dir=out)) for name in sys.argv[2:]}, sys.stdout)
