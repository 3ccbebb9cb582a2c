"""`mlflow models serve` on a run's logged model answers a real request with the run's classes."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import da_toolkit as dt
from da_toolkit.methods import SourceOnly
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.tracking import spool_tracker


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(port, pictures):
    """Train ids [H,W] that the server gives for encoded pictures."""
    rows = [[base64.b64encode(content).decode()] for content in pictures]
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": rows}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = json.loads(answer.read())["predictions"]
    return [np.asarray(Image.open(BytesIO(base64.b64decode(row["train_ids"])))) for row in told]


def encoded(image):
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_a_logged_model_is_served(tmp_path, tiny_recipe, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setattr(spool_tracker, "FINISH_WAIT", 60.0)  # as long as a busy machine needs
    session = Session("tiny", tiny_recipe(SourceOnly(), steps=1), Runtime(runs=tmp_path, workers=0))
    session.run()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    [logged] = client.search_runs([client.get_experiment_by_name("da_toolkit").experiment_id])
    [file] = (tmp_path / "mlartifacts").rglob("MLmodel")
    told = file.read_text()
    assert "da_toolkit.exporting.served" in told and '"type": "binary", "name": "image"' in told
    assert (file.parent / "serving_input_example.json").is_file()
    port, log = free_port(), tmp_path / "log.txt"
    command = ["models", "serve", "-m", f"runs:/{logged.info.run_id}/model", "--env-manager", "local", "--port", port]
    here = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # MLflow starts uvicorn by name
        "PYTHONPATH": os.pathsep.join([str(Path(dt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    with log.open("w") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *map(str, command), "--workers", "1"],
            cwd=tmp_path,
            env=os.environ | here,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.3)
        draw = np.random.default_rng(0)
        pictures = [draw.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((40, 60), (30, 20))]
        run = dt.load_run(session.folder)
        for found, picture in zip(post(port, map(encoded, pictures)), pictures, strict=True):
            expected = run.predict(picture).classes
            assert found.shape == expected.shape and (found == expected).mean() > 0.999
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(port, [b"no picture"])
        assert "no picture that can be read" in refused.value.read().decode()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(20)
