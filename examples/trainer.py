"""A trainer without PyTorch: it fetches the model, and each round sends its
gradients to the parameter server and takes the new weights from it.

    hypha-node job run --id ROUND --config '{"model": REFERENCE, "server": PEER, "rounds": 3, "shard": 0}' -- python3 trainer.py

"Training" is deterministic: the shard wants every weight to be shard + 1, and the
gradient of weight w is w - (shard + 1).
"""

import sys
import time

import tensors
from hypha_bridge import BridgeError, Session, peers


def deliver(bridge, server, path, patience=60):
    """Send to the server, which may still be starting."""
    end = time.monotonic() + patience
    while True:
        try:
            return bridge.send_resource(server, path)[0]
        except BridgeError as err:
            if err.code != "delivery_failed" or time.monotonic() > end:
                raise
            time.sleep(0.2)


def main():
    config = tensors.config()
    server, target = peers(config["server"]), config["shard"] + 1
    with Session() as bridge:
        [model] = bridge.fetch(config["model"])
        weights = tensors.read(bridge.path(model))
        print(f"fetched {model['path']}: {model['size']} bytes, {model['checksum']}")
        with bridge.receive(server, "weights") as updates:  # subscribed before the first gradient goes
            for number in range(config["rounds"]):
                gradients = {name: [w - target for w in values] for name, values in weights.items()}
                loss = sum(g * g for values in gradients.values() for g in values) / 2
                path = f"gradients/{number}.safetensors"
                tensors.write(bridge.path(path), gradients)
                sent = deliver(bridge, server, path)
                update = next(updates)
                weights = tensors.read(bridge.path(update))
                bridge.send_status({"metrics": {"round": number, "metrics": {"loss": loss}}})
                print(f"round {number}: loss {loss:.4f}, sent {sent['sent_bytes']} bytes, got {update['name']}")
        tensors.write(bridge.path("final.safetensors"), weights)
        print("final", bridge.put("final.safetensors", pin=True)["cid"], *(f"{w:.6f}" for w in weights["w"][:4]))


if __name__ == "__main__":
    sys.exit(main())
