"""Kubernetes objects against the types of its API, as the Python client has them."""

from typing import Any

from kubernetes import client
from pydantic import ValidationError


def faults(value: Any, model: str) -> list[str]:
    """Wrong types, missing fields, and fields that the API does not know and would drop."""
    try:
        getattr(client, model).model_validate(value)
    except ValidationError as error:
        return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return []
