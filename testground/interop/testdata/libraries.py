# Uses the Hub that HF_ENDPOINT names through transformers and datasets, and prints
# what it got as one JSON object.
import json
import sys

import datasets
import transformers

config = transformers.AutoConfig.from_pretrained("org/tiny")
tokenizer = transformers.AutoTokenizer.from_pretrained("org/tiny")
lines = datasets.load_dataset("org/rows", split="train")
table = datasets.load_dataset("org/table", split="train")
streamed = datasets.load_dataset("org/rows", split="train", streaming=True)
json.dump({
    "model_type": config.model_type,
    "layers": config.num_hidden_layers,
    "ids": tokenizer("hello big world")["input_ids"],
    "lines": list(lines["n"]),
    "table": list(table["word"]),
    "streamed": [row["n"] for row in streamed],
}, sys.stdout)
