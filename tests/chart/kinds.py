"""Kubernetes objects against the types of its own API, as the Python client was generated from them."""

from typing import Any

from kubernetes import client
from pydantic import ValidationError


def faults(value: Any, model: str) -> list[str]:
    """Wrong types, required fields that are missing, and fields that the API does not know and would drop."""
    try:
        getattr(client, model).model_validate(value)
    except ValidationError as error:
        return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return []
