"""Compose file and Kubernetes manifests fit together with the configurations that they start."""

from __future__ import annotations

import re

import pytest
import yaml
from collectors import FOLDER

from otel_posthog.config.settings import SETTINGS

MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))
COLLECTOR, GATEWAY = "otelcol-posthog", "otel-posthog-gateway"


def _compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def _objects():
    return [found for path in MANIFESTS for found in yaml.safe_load_all(path.read_text())]


def _containers():
    """Return for each container of Kubernetes its image, arguments and the names of its variables."""
    for found in _objects():
        for container in found["spec"].get("template", {}).get("spec", {}).get("containers", []):
            names = {entry["name"] for entry in container["env"]}
            yield container["image"], container["args"], names, container["volumeMounts"]


def _services():
    """Return the same for the services of Compose, without their volumes."""
    for service in _compose()["services"].values():
        if service["image"] in (COLLECTOR, GATEWAY):
            yield service["image"], service["command"], set(service["environment"])


def _variables_of(config):
    return set(re.findall(r"\$\{env:([A-Z_]+)", (FOLDER / config).read_text()))


def _known_to(image, arguments):
    if image == GATEWAY:
        return {variable for row in SETTINGS for variable in row.env}
    return _variables_of(arguments[-1].rpartition("/")[2])


@pytest.mark.parametrize("place", [_services, _containers])
def test_variables_are_known_where_they_go(place):
    """Each variable that is given is one that the configuration, or the gateway's settings, ask for."""
    found = [(image, arguments, names) for image, arguments, names, *_ in place()]

    assert len(found) >= 3
    assert [(arguments, names - _known_to(image, arguments)) for image, arguments, names in found] == [
        (arguments, set()) for _, arguments, _ in found
    ]


def test_variables_without_default_are_given():
    """What a configuration cannot do without stands in the manifests and in the Compose file."""
    for image, arguments, names, *_ in [*_services(), *_containers()]:
        if image == COLLECTOR:
            text = (FOLDER / arguments[-1].rpartition("/")[2]).read_text()
            assert set(re.findall(r"\$\{env:([A-Z_]+)\}", text)) <= names


def test_mounted_files_and_folders_are_there():
    """Each file that is mounted stands in this folder, or is one that the product makes."""
    mounted = [
        volume.partition(":")[0]
        for service in _compose()["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    made = {"telemetry-manifest.json"}
    kustomized = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = [name for entry in kustomized["configMapGenerator"] for name in entry["files"]]

    assert [name for name in [*mounted, *files, *kustomized["resources"]] if not _is_there(name, made)] == []


def _is_there(name, made):
    return name.removeprefix("./") in made or (FOLDER / name).exists()


def test_names_in_kubernetes_lead_somewhere():
    """Services, config maps and volumes that are named exist, and selectors match the labels of pods."""
    objects = _objects()
    kustomized = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    maps = {entry["name"] for entry in kustomized["configMapGenerator"]}
    apps = {
        found["spec"]["template"]["metadata"]["labels"]["app"]
        for found in objects
        if "template" in found["spec"]
    }
    services = {found["metadata"]["name"]: found for found in objects if found["kind"] == "Service"}
    text = "".join(path.read_text() for path in MANIFESTS)

    assert {found["spec"]["selector"]["app"] for found in services.values()} <= apps
    assert set(re.findall(r"http://([a-z-]+):", text)) <= services.keys()
    assert set(re.findall(r"configMap: \{name: ([a-z-]+)\}", text)) == maps
    for found in objects:
        pod = found["spec"].get("template", {}).get("spec")
        if pod is not None:
            claimed = found["spec"].get("volumeClaimTemplates", [])
            volumes = {entry["name"] for entry in pod["volumes"]} | {
                entry["metadata"]["name"] for entry in claimed
            }
            mounts = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
            assert mounts == volumes
