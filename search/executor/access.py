"""Who may reach Ray: those who have its token.

Ray listens on the network of its machine, and runs what it is sent. Its token authentication is
therefore on in whatever a search starts or joins, unless the user says otherwise.
"""

import os
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
PROBE_SECONDS = 60
OPEN = "--allow-open-cluster"
_PROBE = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)
    print("open")
except Exception as error:
    print("closed" if "authentication token" in str(error).lower() else type(error).__name__)
"""


class AccessError(RuntimeError):
    """Ray would be open to everybody, or its token is not here."""


def token_file() -> Path:
    """Where the token lies, of this user; read where no variable holds it."""
    return Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")


def require_token(*, joins: bool, allow_open: bool) -> None:
    """Have Ray ask for a token, and the token's file be its owner's alone.

    Args:
        joins: a cluster that is there, whose token must be here already; else one is made.
        allow_open: the user has said that a cluster without a token will do.

    Raises:
        AccessError: authentication is switched off, or there is no token.
        OSError: the token's file cannot be written.
    """
    if os.environ.get(MODE, "token").lower() != "token":
        if allow_open:
            return
        raise AccessError(
            f"{MODE}={os.environ[MODE]} leaves Ray open to everybody who reaches this machine: "
            f"unset it, or say {OPEN}"
        )
    file = token_file()
    if not (os.environ.get(TOKEN) or file.is_file()):
        if joins and allow_open:
            os.environ[MODE] = "disabled"  # Ray would ask for the token that is not here
            return
        if joins:
            raise AccessError(
                f"the cluster's token is not here: copy {file} from its head node, for its owner "
                f"alone (mode 0600), or name its place in {TOKEN_PATH}; to join one that has none, "
                f"say {OPEN}"
            )
        _make(file)
    with suppress(OSError):  # another user's: then it is not ours to close
        file.chmod(0o600)
    os.environ[MODE] = "token"


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):  # by another search, just now
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as opened:
            opened.write(secrets.token_hex(32))


def is_open(address: str) -> bool:
    """Whether the cluster at HOST:PORT answers somebody without its token.

    Raises:
        AccessError: it says neither.
    """
    asked = subprocess.run(
        [sys.executable, "-c", _PROBE, address],
        env={**_without_token(), MODE: "disabled"},
        capture_output=True,
        text=True,
        timeout=PROBE_SECONDS,
        check=False,
    )
    said = asked.stdout.strip().rpartition("\n")[2]
    if said not in ("open", "closed"):
        raise AccessError(f"it could not be found out whether it asks for a token: {said}")
    return said == "open"


def refuse_open(address: str) -> None:
    """Refuse the cluster at HOST:PORT if it answers without its token.

    Raises:
        AccessError: it does.
    """
    if is_open(address):
        raise AccessError(
            "whoever reaches it can run anything on its nodes, where the notes will be: start its "
            f"nodes with {MODE}=token, or say {OPEN}"
        )


def _without_token() -> dict[str, str]:
    return {name: v for name, v in os.environ.items() if name not in (TOKEN, TOKEN_PATH)}
