"""What a Pod's only container runs, and with which environment, as a kubelet would read it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class CannotStart(Exception):
    """The container waits; ``reason`` is what the kubelet would say."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def expand(text: str, known: Mapping[str, str]) -> str:
    """Fill in ``$(NAME)``: unknown names stay, ``$$`` is a dollar sign."""

    def one(found: re.Match[str]) -> str:
        if found.group(0) == "$$":
            return "$"
        return known.get(found.group(1), found.group(0))

    return _REFERENCE.sub(one, text)


def only_container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the Pod's container.

    Raises:
        CannotStart: ``CreateContainerError`` when there is more than one.
    """
    spec = pod["spec"]
    if len(spec["containers"]) != 1 or spec.get("initContainers"):
        raise CannotStart("CreateContainerError", "this node runs Pods of one container")
    return dict(spec["containers"][0])


def words(container: dict[str, Any], env: Mapping[str, str]) -> list[str]:
    """Command and arguments, filled in."""
    given = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [expand(w, env) for w in given]


def environment(
    pod: dict[str, Any],
    container: dict[str, Any],
    config_map: Callable[[str], Mapping[str, str] | None],
) -> dict[str, str]:
    """Put a container's environment together, later entries before earlier ones.

    Args:
        pod: whose fields may be asked for.
        container: of it.
        config_map: name → its data, None when there is none.

    Raises:
        CannotStart: ``CreateContainerConfigError`` for a ConfigMap that is not there.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        reference = source["configMapRef"]
        data = config_map(reference["name"])
        if data is None and not reference.get("optional"):
            raise CannotStart(
                "CreateContainerConfigError", f"there is no ConfigMap {reference['name']}"
            )
        env |= data or {}
    for each in container.get("env") or ():
        if "valueFrom" in each:
            env[each["name"]] = field_of(pod, each["valueFrom"]["fieldRef"]["fieldPath"])
        else:
            env[each["name"]] = expand(each.get("value", ""), env)
    return env


def field_of(pod: dict[str, Any], path: str) -> str:
    """Read ``metadata.name`` or ``metadata.annotations['a/b']``; "" when it is not there."""
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str(pod["metadata"].get(found.group(1), {}).get(found.group(2), ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)
