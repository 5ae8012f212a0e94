"""Who may do what: permissions, roles and identities. Pure; knows no HTTP and no service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """What a route of an HTTP API asks of its caller."""

    PUBLIC = "public"  # nothing: the login page and its files, /healthz, /readyz
    OWN = "own"  # a credential of the route's own: a camera's WHIP token, a signed link
    METRICS = "metrics"  # read the numbers of Prometheus
    LOOK = "look"  # see events, pictures and states; search
    OPERATE = "operate"  # change labels, stars and settings of cameras
    ADMIN = "admin"  # users, tokens, retention, deleting


class Role(StrEnum):
    """A user's role; each may what the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


PERMISSIONS_OF: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.LOOK}),
    Role.OPERATOR: frozenset({Permission.LOOK, Permission.OPERATE}),
    Role.ADMIN: frozenset({Permission.LOOK, Permission.OPERATE, Permission.ADMIN, Permission.METRICS}),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls. `name` is shown to people and in logs; `cameras`: the ids that it may see, None for all.

    `key` is the same for one user or token only, by which streams are counted; empty: it is an address that counts.
    """

    name: str
    permissions: frozenset[Permission]
    cameras: frozenset[str] | None = None
    key: str = ""

    def may(self, permission: Permission) -> bool:
        """Whether the caller has `permission`; everybody has `PUBLIC` and `OWN`."""
        return permission in (Permission.PUBLIC, Permission.OWN) or permission in self.permissions

    def sees(self, camera_id: str) -> bool:
        """Whether the caller may see anything of a camera."""
        return self.cameras is None or camera_id in self.cameras
