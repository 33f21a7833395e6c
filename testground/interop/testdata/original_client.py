"""Three rounds in which two executors train against each other, with the original's
own client, unchanged, and in the order in which its training loop calls it.

    original_client.py API_PY SOCKET_PATH WORK_DIR JOB_JSON
"""

import importlib.util
import json
import os
import sys
import typing

if not hasattr(typing, "override"):  # it is written for Python 3.12; the rest of it runs on older ones
    typing.override = lambda f: f

path, socket_path, work_dir, job = sys.argv[1:]
spec = importlib.util.spec_from_file_location("api", path)
api = importlib.util.module_from_spec(spec)
spec.loader.exec_module(api)

config = json.loads(job)["executor"]["config"]
with api.Session(socket_path) as session:
    session.fetch(config["model"]["artifact"])
    fetched = sorted(os.listdir(f"{work_dir}/artifacts"))
    print("fetched", *fetched)
    data = session.fetch(config["data"])
    print("data", os.path.getsize(os.path.join(work_dir, data[0]["path"])))
    with session.receive(config["results"], "incoming") as receiver:
        updates = iter(receiver)
        for epoch in range(1, 4):
            response = session.send_status({"status": {"batch_size": 8, "round_time": 12}})
            assert response["type"] in ("Ok", "ScheduleUpdate", "Continue"), response
            session.send_status("update")
            name = f"{epoch}_local_gradients.pt"
            with open(os.path.join(work_dir, name), "wb") as f:
                f.write(epoch.to_bytes(4, "big") * (epoch << 18))
            session.send_resource(config["updates"], name)
            session.send_status({"metrics": {"round": epoch, "metrics": {"loss": 1.5}}})
            pointers = next(updates)
            latest = pointers[-1] if isinstance(pointers, list) else pointers
            parameters = latest.get("parameters") if isinstance(latest.get("parameters"), dict) else None
            came = parameters.get("path") if parameters else latest.get("path")
            with open(os.path.join(work_dir, came), "rb") as f:
                weights = f.read()
            assert weights == epoch.to_bytes(4, "big") * (epoch << 18), (came, len(weights))
            print("round", epoch, len(weights))
            assert session.send_status("update-received")["type"] == "Ok"
print("done")
