"""Uses a node through ipfshttpclient, in the place of Kubo: rpc.py MULTIADDR TOKEN DIR."""

import json
import pathlib
import sys
import warnings

import ipfshttpclient

address, token, place = sys.argv[1:]
warnings.simplefilter("ignore")  # of a daemon that is newer than the client knows
client = ipfshttpclient.connect(address, headers={"Authorization": "Bearer " + token})
tree = pathlib.Path(place) / "tree"
(tree / "sub").mkdir(parents=True)
(tree / "a.txt").write_text("hello world")
(tree / "sub" / "b.txt").write_text("text")

got = {"agent": client.id()["AgentVersion"], "system": bool(client.version()["Version"])}
got["file"] = client.add(str(tree / "a.txt"))["Hash"]
got["tree"] = client.add(str(tree), recursive=True)[-1]["Hash"]
got["text"] = text = client.add_bytes(b"hello world")
got["json"] = client.get_json(client.add_json({"a": [1, 2]}))
got["cat"] = client.cat(got["tree"] + "/sub/b.txt").decode()
got["range"] = client.cat(text, offset=6, length=3).decode()
got["ls"] = sorted([e["Name"], e["Type"]] for e in client.ls(got["tree"])["Objects"][0]["Links"])
got["pinned"] = [got["tree"] in client.pin.ls(type="recursive")["Keys"], client.pin.rm(got["tree"])["Pins"]]
got["unpinned"] = got["tree"] not in client.pin.ls(type="recursive")["Keys"]
got["again"] = client.pin.add(got["tree"])["Pins"]
got["block"] = [client.block.get(text).decode(), client.block.stat(text)["Size"]]
got["car"] = len(client.dag.export(got["tree"])) > 100
got["objects"] = client.repo.stat()["NumObjects"] > 0
client.repo.gc()
got["peers"] = client.swarm.peers()["Peers"]
try:
    ipfshttpclient.connect(address, headers={"Authorization": "Bearer wrong"}).id()
except ipfshttpclient.exceptions.ErrorResponse as e:
    got["wrong"] = str(e)
print(json.dumps(got))
