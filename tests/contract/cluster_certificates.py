"""Certificates of a cluster that lives for one test session."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


class Certificates:
    """An authority that signs into a folder; users are certificates: name and groups."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("mien test cluster", ())
        self.authority = self._write("ca", self._sign(self.name, self.key, True), self.key)[0]

    def issue(self, name: str, *groups: str, file: str = "") -> tuple[Path, Path]:
        """Return the files of a certificate and its key, good for a server and for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(_name(name, groups), key, False)
        return self._write(file or name.replace(":", "-"), cert, key)

    def signing_key(self) -> Path:
        """Return the file of an RSA key, for tokens of service accounts."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        file = self.folder / "tokens.key"
        file.write_bytes(_private(key))
        return file

    def _write(self, file: str, cert, key) -> tuple[Path, Path]:
        files = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(_private(key))
        return files

    def _sign(self, subject, key, authority: bool):
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName(n) for n in SERVER_NAMES]
        addresses = [x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "10.0.0.1")]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _name(name: str, groups: tuple[str, ...]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _private(key) -> bytes:
    # PKCS 1 and SEC 1: the form every release of Kubernetes reads
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
