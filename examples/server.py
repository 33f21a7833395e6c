"""The parameter server of trainer.py: each round it takes one file of gradients
from every trainer, moves the weights along their mean and sends the new ones.

    hypha-node job run --id ROUND --config '{"model": REFERENCE, "trainers": [PEER, …], "rounds": 3}' -- python3 server.py
"""

import os
import sys

import tensors
from hypha_bridge import Session, peers

RATE = 0.5  # of the step


def main():
    config = tensors.config()
    trainers = config["trainers"]
    with Session() as bridge:
        [model] = bridge.fetch(config["model"])
        weights = tensors.read(bridge.path(model))
        with bridge.receive(peers(*trainers), "gradients") as inbox:
            for number in range(config["rounds"]):
                waiting, sums = set(trainers), {name: [0.0] * len(values) for name, values in weights.items()}
                while waiting:
                    gradients = next(inbox)  # from_peer is authenticated; a trainer sends one a round
                    waiting.discard(gradients["from_peer"])
                    for name, values in tensors.read(bridge.path(gradients)).items():
                        if name not in sums or len(values) != len(sums[name]):
                            raise ValueError(f"{gradients['from_peer']} sent a tensor {name!r} that the model has not")
                        sums[name] = [s + g for s, g in zip(sums[name], values)]
                    os.remove(bridge.path(gradients))
                for name, values in weights.items():
                    weights[name] = [w - RATE * s / len(trainers) for w, s in zip(values, sums[name])]
                path = f"weights-{number}.safetensors"
                tensors.write(bridge.path(path), weights)
                to = bridge.send_resource(peers(*trainers), path, remove_file=True)
                print(f"round {number}: weights to {len(to)} trainers, {to[0]['cid']}")


if __name__ == "__main__":
    sys.exit(main())
