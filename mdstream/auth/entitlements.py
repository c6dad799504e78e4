"""What a client may see: all or nothing, until the claim ``md`` is compiled here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entitlements:
    """Everything, or nothing."""

    everything: bool

    @staticmethod
    def from_claim(claim: object) -> Entitlements:
        """``claim`` is the value of ``md``, a map with ``grants``; raises ValueError that says where it is wrong."""
        if not isinstance(claim, dict) or not isinstance(claim.get("grants"), list):
            raise ValueError("md must be a map with grants")
        return ALL if claim["grants"] else NONE


ALL = Entitlements(True)
NONE = Entitlements(False)
