"""Signatures and attestations in the form that `cosign verify --key` reads, written into a layout.

A signature of cosign is an image beside the signed one, under the tag `sha256-<hex>.sig`. Its layer
is a JSON text (simple signing) that names the digest, and the signature of that text is an
annotation. An attestation is a DSSE envelope around an in-toto statement, under `sha256-<hex>.att`.
No transparency log is asked, so both can be made and verified without any network.
"""

import base64
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.image import programs
from tools.image.oci import CONFIG, Artifact, Descriptor, Layout, encode_json

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
STATEMENT = "application/vnd.in-toto+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
PASSWORD = "COSIGN_PASSWORD"

# Signs bytes: ECDSA over SHA-256, in DER.
Signer = Callable[[bytes], bytes]


def load_signer(key: str) -> Signer:
    """What signs with a key: a PEM file with an ECDSA key, or whatever else cosign's --key takes.

    The password of an encrypted key comes from COSIGN_PASSWORD.
    """
    file = Path(key)
    if file.is_file() and b"SIGSTORE PRIVATE KEY" not in file.read_bytes():
        return _load_pem_signer(file)
    return _make_cosign_signer(key)


def _load_pem_signer(file: Path) -> Signer:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = os.environ.get(PASSWORD, "").encode() or None
    try:
        key = load_pem_private_key(file.read_bytes(), password)
    except (TypeError, ValueError) as error:
        raise SystemExit(
            f"{file} is not a private key in PEM that opens with {PASSWORD}: {error}\n"
            "Make one with `cosign generate-key-pair`."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SystemExit(f"{file} is not an ECDSA key, which cosign makes. Give one on P-256.")
    return lambda content: key.sign(content, ec.ECDSA(SHA256()))


def _make_cosign_signer(key: str) -> Signer:
    """Cosign signs: its own encrypted keys, and keys that never leave a KMS."""
    offline = ("--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false")

    def sign(content: bytes) -> bytes:
        with TemporaryDirectory(prefix="graft-sign-") as folder:
            payload, signature = Path(folder) / "payload", Path(folder) / "signature"
            payload.write_bytes(content)
            options = ["--yes", f"--key={key}", *offline, f"--output-signature={signature}"]
            done = subprocess.run(
                [programs.cosign(), "sign-blob", *options, payload],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"cosign could not sign with {key}:\n{done.stderr}")
            return base64.b64decode(signature.read_text())

    return sign


def sign_manifest(layout: Layout, signed: Descriptor, name: str, signer: Signer) -> str:
    """Write the signature of a manifest that is published as `name`. Returns its tag."""
    payload = make_payload(name, signed.digest)
    signature = base64.b64encode(signer(payload)).decode()
    layer = layout.add_blob(payload, SIMPLE_SIGNING, {SIGNATURE: signature})
    return _tag_layers(layout, signed, "sig", [layer])


def attest_statements(
    layout: Layout, subject: Descriptor, statements: Sequence[tuple[str, bytes]], signer: Signer
) -> str:
    """Write signed in-toto statements about a manifest, by predicate type. Returns their tag."""
    layers = []
    for kind, statement in statements:
        annotations = {SIGNATURE: "", "predicateType": kind}
        layers.append(layout.add_blob(make_envelope(statement, signer), ENVELOPE, annotations))
    return _tag_layers(layout, subject, "att", layers)


def make_payload(name: str, digest: str) -> bytes:
    """The simple signing text of cosign for a manifest."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return encode_json({"critical": critical, "optional": None})


def make_envelope(statement: bytes, signer: Signer) -> bytes:
    """A DSSE envelope. What is signed is the pre-authentication encoding of DSSE 1.0."""
    encoded = encode_authenticated(STATEMENT, statement)
    return encode_json(
        {
            "payloadType": STATEMENT,
            "payload": base64.b64encode(statement).decode(),
            "signatures": [{"keyid": "", "sig": base64.b64encode(signer(encoded)).decode()}],
        }
    )


def encode_authenticated(kind: str, content: bytes) -> bytes:
    """PAE: `DSSEv1`, then both parts with their lengths in bytes."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(content), content)


def _tag_layers(
    layout: Layout, signed: Descriptor, suffix: str, layers: Sequence[Descriptor]
) -> str:
    """An image of these layers beside the signed one. Its layers are not compressed."""
    digests = [layer.digest for layer in layers]
    config = {
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": digests},
        "config": {},
    }
    manifest = layout.add_manifest(
        Artifact(config=layout.add_json(config, CONFIG), layers=tuple(layers))
    )
    tag = f"{signed.digest.replace(':', '-')}.{suffix}"
    layout.tag(tag, manifest)
    return tag
