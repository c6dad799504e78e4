"""Everything that a writer, a venue or a stranger on the bus may do wrong, by the letters of their kinds."""

from truth import faults_book, faults_frozen, faults_venue
from truth.scenario import FAULTS

__all__ = ["FAULTS", "faults_book", "faults_frozen", "faults_venue"]
