"""Run a real Collector and a real Kafka broker, built or fetched once and kept outside of the repository."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateways import TOKEN
from ports import free_port
from waiting import wait_until

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "collector"
KAFKA_POM = Path(__file__).parent / "collector" / "kafka-pom.xml"
KAFKA_VERSION = "4.1.0"
WAIT_S = 120
_BUILD_S = 3600
_FETCH_S = 900
_CLUSTER = "MkU3OEVBNTcwNTJENDM2Qk"  # any 16 bytes in base64


def collector_program():
    """Return the Collector of `collector/builder.yaml`; CI builds it if it is not there yet."""
    build = FOLDER / "build.sh"
    place = subprocess.run([build, "--path"], capture_output=True, text=True, check=True).stdout.strip()
    if not Path(place).exists():
        _only_in_ci("the Collector is not built: run collector/build.sh, which takes some minutes")
        built = subprocess.run([build], capture_output=True, text=True, timeout=_BUILD_S, check=False)
        assert built.returncode == 0, built.stderr
    return place


def kafka_jars():
    """Return the folder of a broker's jars; CI fetches them if they are not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-posthog"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if not jars.exists():
        _only_in_ci("Kafka's jars are not there: with Java and Maven, run these tests once with CI=true")
        part = jars.with_suffix(f".{os.getpid()}.part")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={part}"]
        fetch = ["mvn", "--quiet", "--batch-mode", "--file", KAFKA_POM, *goal]
        subprocess.run(fetch, check=True, timeout=_FETCH_S)
        part.rename(jars)
    return jars


def _only_in_ci(otherwise):
    if not os.environ.get("CI"):
        pytest.skip(otherwise)


@dataclass(slots=True)
class Running:
    """A Collector at work, in a process group of its own."""

    process: subprocess.Popen[bytes]
    otlp: str
    """Address for OTLP over HTTP."""
    metrics: str

    def metric(self, name):
        """Return the sum of a counter or gauge over its labels."""
        lines = _answer(f"{self.metrics}/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def collector(program, config, folder, *, otlp_port=None, **environment):
    """Run the Collector with our file, or files joined by +; `folder` holds queue and log."""
    folder.mkdir(exist_ok=True)
    ports = {name: free_port() for name in ("otlp", "grpc", "health", "metrics")}
    ports["otlp"] = otlp_port or ports["otlp"]
    given = {
        "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{ports['otlp']}",
        "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{ports['grpc']}",
        "HEALTH_ENDPOINT": f"127.0.0.1:{ports['health']}",
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": str(ports["metrics"]),
        "QUEUE_FOLDER": str(folder / "queue"),
        "OTEL_POSTHOG_GATEWAY_TOKEN": TOKEN,
    }
    log = folder / "log"
    with log.open("a") as output:
        command = [program, *(part for name in config.split("+") for part in ("--config", FOLDER / name))]
        process = subprocess.Popen(
            command, env=os.environ | given | environment, stderr=output, start_new_session=True
        )
    health = f"http://127.0.0.1:{ports['health']}/"
    try:
        wait_until(lambda: process.poll() is not None or _answer(health), timeout_s=WAIT_S)
        assert process.poll() is None, log.read_text()[-3000:]
        yield Running(
            process,
            otlp=f"http://127.0.0.1:{ports['otlp']}",
            metrics=f"http://127.0.0.1:{ports['metrics']}",
        )
    finally:
        end(process)


def end(process):
    """Tell a process to end, and see to it that it does."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(WAIT_S)


def _answer(url):
    try:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""


class Kafka:
    """One broker in KRaft mode, which can be killed and started again on the same data."""

    def __init__(self, jars, folder):
        self._jars = jars
        self._folder = folder
        folder.mkdir()
        self.port, controller = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        (folder / "server.properties").write_text(
            "\n".join(
                [
                    "process.roles=broker,controller",
                    "node.id=1",
                    f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}",
                    f"listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}",
                    f"advertised.listeners=PLAINTEXT://{self.address}",
                    "controller.listener.names=CONTROLLER",
                    f"log.dirs={folder / 'data'}",
                    "message.max.bytes=5000000",
                    "offsets.topic.replication.factor=1",
                    "offsets.topic.num.partitions=1",
                    "transaction.state.log.replication.factor=1",
                    "transaction.state.log.min.isr=1",
                    "share.coordinator.state.topic.replication.factor=1",
                    "share.coordinator.state.topic.min.isr=1",
                    "group.initial.rebalance.delay.ms=0",
                ]
            )
        )
        formatting = ["format", "--standalone", "--cluster-id", _CLUSTER, "--config", "server.properties"]
        self._run("kafka.tools.StorageTool", *formatting)
        self.process = None

    def start(self):
        """Start the broker, and make the topics where they are not there."""
        with (self._folder / "log").open("a") as output:
            command = self._command("kafka.Kafka", "server.properties")
            self.process = subprocess.Popen(command, cwd=self._folder, stdout=output, stderr=output)
        for topic in ("otlp_logs", "otlp_spans"):
            wait_until(lambda topic=topic: self._makes(topic), timeout_s=WAIT_S)

    def kill(self):
        """End it as a machine ends that loses its power."""
        self.process.kill()
        self.process.wait(WAIT_S)

    def stop(self):
        """End it."""
        if self.process is not None:
            end(self.process)

    def _makes(self, topic):
        where = ["--bootstrap-server", self.address, "--create", "--if-not-exists", "--partitions", "2"]
        return self._run("org.apache.kafka.tools.TopicCommand", *where, "--topic", topic, check=False) == 0

    def _run(self, *command, check=True):
        with (self._folder / "log").open("a") as output:
            run = subprocess.run(
                self._command(*command),
                cwd=self._folder,
                stdout=output,
                stderr=output,
                check=check,
                timeout=WAIT_S,
            )
        return run.returncode

    def _command(self, *command):
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *options, "-cp", f"{self._jars}/*", *command]
