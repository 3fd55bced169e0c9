"""A database's address: read by libpq's own rules, and shown without its passwords."""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from .store import StoreError

SECRETS = ("password", "sslpassword")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9_.-]+")


def parameters_of(address: str) -> dict[str, str]:
    """What libpq is told by the address, passwords among it.

    Raises:
        StoreError: it cannot be read. Libpq's own words are left out: they may quote a password.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(address).items()}
    except (psycopg.Error, UnicodeError):
        parameters = None
    if parameters is None or _is_misread(address, parameters):
        raise StoreError(
            "the store's address cannot be read: write postgresql://USER@HOST:PORT/DATABASE, with "
            "%40 for @, %2F for / and so on within a name or a password, and libpq's parameters "
            "after a question mark"
        )
    return parameters


def _is_misread(address: str, parameters: Mapping[str, str]) -> bool:
    """Whether libpq took a part of a password for something else: an @ or / was not encoded."""
    database = address.partition("://")[2].partition("?")[0].partition("/")[2]
    ports = parameters.get("port", "").split(",")
    return (
        "@" in database
        or "@" in parameters.get("host", "")
        or not all(port.isdecimal() or not port for port in ports)
    )


def shown(parameters: Mapping[str, str]) -> str:
    """The address without its passwords; it can be given again."""
    rest = {name: value for name, value in parameters.items() if name not in SECRETS}
    user, database = rest.pop("user", ""), rest.pop("dbname", "")
    where = quote(user, safe="") + "@" if user else ""
    if _PLAIN_HOST.fullmatch(rest.get("host", "")) and "," not in rest.get("port", ""):
        where += rest.pop("host")
        where += f":{port}" if (port := rest.pop("port", "")) else ""
    query = f"?{urlencode(rest, quote_via=quote, safe='/')}" if rest else ""
    return f"postgresql://{where}/{quote(database, safe='')}{query}"
