"""Who may use which route of which service. A route without a row here fails, so that whoever adds one says so.

who      PUBLIC: everybody; OWN: who has the route's own credential (a camera's token, a signed link); else the
         permission that is needed: LOOK (viewers), OPERATE (operators), ADMIN, METRICS
about    thing: something of one camera, which is not there for who does not see that camera; list: it holds only
         what the caller may see; self: the caller's own; -: nothing of cameras
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PUBLIC, OWN, LOOK, OPERATE, ADMIN, METRICS = "PUBLIC", "OWN", "LOOK", "OPERATE", "ADMIN", "METRICS"

_TABLE = """
GET      /healthz                                   both      PUBLIC   -
GET      /readyz                                    both      PUBLIC   -
GET      /metrics                                   both      METRICS  -
GET      /openapi.json                              both      LOOK     -

GET      /api/cameras                               both      LOOK     list
GET      /api/cameras/{camera_id}                   both      LOOK     thing
PATCH    /api/cameras/{camera_id}                   both      OPERATE  thing
PUT      /api/cameras/{camera_id}/labels            both      OPERATE  thing
POST     /api/cameras/{camera_id}/pause             both      OPERATE  thing
POST     /api/cameras/{camera_id}/resume            both      OPERATE  thing
GET      /api/cameras/{camera_id}/picture.jpg       both      LOOK     thing
GET      /api/cameras/{camera_id}/video.mjpeg       both      LOOK     thing
GET      /api/cameras/{camera_id}/looks             both      LOOK     thing
POST     /api/cameras/{camera_id}/trial             both      OPERATE  thing
POST     /api/cameras/{camera_id}/whep              both      LOOK     thing
GET      /api/cameras/{camera_id}/whep/{session}    both      LOOK     thing
DELETE   /api/cameras/{camera_id}/whep/{session}    both      LOOK     thing
OPTIONS  /whip/{camera}                             both      OWN      -
OPTIONS  /whip/{camera}/{session}                   both      OWN      -
POST     /whip/{camera}                             both      OWN      -
DELETE   /whip/{camera}/{session}                   both      OWN      -

GET      /                                          recorder  PUBLIC   -
GET      /cameras                                   recorder  PUBLIC   -
GET      /cameras/{camera_id}                       recorder  PUBLIC   -
GET      /login                                     recorder  PUBLIC   -
GET      /users                                     recorder  PUBLIC   -
GET      /verdicts                                  recorder  PUBLIC   -
GET      /quality                                   recorder  PUBLIC   -
GET      /web                                       recorder  PUBLIC   -

GET      /api/me                                    recorder  PUBLIC   self
POST     /api/login                                 recorder  PUBLIC   -
POST     /api/logout                                recorder  PUBLIC   self
POST     /api/setup                                 recorder  PUBLIC   -
GET      /api/oidc/login                            recorder  PUBLIC   -
GET      /api/oidc/callback                         recorder  PUBLIC   -
POST     /api/me/password                           recorder  LOOK     self
GET      /api/sessions                              recorder  LOOK     self
DELETE   /api/sessions/{session_id}                 recorder  LOOK     self
GET      /api/users                                 recorder  ADMIN    -
POST     /api/users                                 recorder  ADMIN    -
PATCH    /api/users/{name}                          recorder  ADMIN    -
DELETE   /api/users/{name}                          recorder  ADMIN    -
GET      /api/tokens                                recorder  ADMIN    -
POST     /api/tokens                                recorder  ADMIN    -
DELETE   /api/tokens/{token_id}                     recorder  ADMIN    -

GET      /api/openapi.json                          recorder  LOOK     -
GET      /api/events                                recorder  LOOK     list
GET      /api/events/{event_id}                     recorder  LOOK     thing
GET      /api/events/{event_id}/why                 recorder  LOOK     thing
PUT      /api/events/{event_id}/protected           recorder  OPERATE  thing
GET      /api/events/{event_id}/links               recorder  OPERATE  thing
POST     /api/events/{event_id}/links               recorder  OPERATE  thing
DELETE   /api/events/{event_id}/links               recorder  OPERATE  thing
GET      /api/events/{event_id}/verdicts            recorder  LOOK     thing
POST     /api/events/{event_id}/verdicts            recorder  OPERATE  thing
POST     /api/events/{event_id}/verdicts/preview    recorder  OPERATE  thing
GET      /api/verdicts                              recorder  LOOK     list
POST     /api/verdicts/{verdict_id}/undo            recorder  OPERATE  thing
POST     /api/verdicts/{verdict_id}/apply           recorder  OPERATE  thing
GET      /api/links                                 recorder  OPERATE  list
DELETE   /api/links/{link_id}                       recorder  OPERATE  thing
GET      /media/{name:path}                         recorder  LOOK     thing
GET      /shared/{token}                            recorder  OWN      -
GET      /shared/{token}/event                      recorder  OWN      -
GET      /shared/{token}/clip                       recorder  OWN      -
GET      /shared/{token}/thumbnail                  recorder  OWN      -
GET      /api/stream                                recorder  LOOK     list
GET      /api/retention                             recorder  LOOK     list
GET      /api/record/cameras                        recorder  LOOK     list
GET      /api/record/labels                         recorder  LOOK     list
GET      /api/stats                                 recorder  LOOK     list
GET      /api/health                                recorder  LOOK     list
GET      /api/search                                recorder  LOOK     list
GET      /api/search/like                           recorder  LOOK     thing
POST     /api/search/like                           recorder  LOOK     list
GET      /api/gaps                                  recorder  LOOK     list
GET      /api/quality                               recorder  LOOK     list
GET      /api/quality/threshold                     recorder  LOOK     list
GET      /api/check                                 recorder  OPERATE  list
POST     /api/hindsight                             recorder  LOOK     list
GET      /api/cameras/{camera_id}/label-history     recorder  LOOK     thing
GET      /api/cameras/{camera_id}/examples          recorder  LOOK     thing
POST     /api/cameras/{camera_id}/examples          recorder  OPERATE  thing
GET      /api/relabels                              recorder  LOOK     list
POST     /api/relabels/{relabel_id}/undo            recorder  OPERATE  thing
POST     /api/cameras/{camera_id}/label-trial       recorder  OPERATE  thing
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    method: str
    path: str
    services: str
    who: str
    about: str


ROWS = tuple(Row(*line.split()) for line in _TABLE.splitlines() if line)
MAY: Mapping[str, frozenset[str]] = {
    "nobody": frozenset(),
    "viewer": frozenset({LOOK}),
    "operator": frozenset({LOOK, OPERATE}),
    "admin": frozenset({LOOK, OPERATE, ADMIN, METRICS}),
}


def rows_of(service: str) -> list[Row]:
    """Return the rows of `recorder` or `motion`."""
    return [row for row in ROWS if row.services in ("both", service)]
