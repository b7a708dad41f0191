"""What can be found: its label in a mask token, its key in the taxonomy and how sensitive it is.

Keys follow the form of the Fides taxonomy (fideslang, CC BY 4.0); those that it lacks are our own, below its nearest.
Sensitivity: 4 health, tax, government ids, money, credentials, belief, union; 3 whoever can be named or reached by it;
2 devices and networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of find."""

    name: str
    """Also the label of its mask tokens, and the key of its count."""
    key: str
    sensitivity: int
    compact: bool = False
    """Spaces, punctuation and case do not matter: values that differ in nothing else are the same."""
    masked: bool = True
    """Topics are not masked: a text about an illness has no part to take out. They only raise the sensitivity."""
    modelled: bool = field(default=False, repr=False)
    """Found by a model of language alone, so no part of the rules without one."""


def _table(*categories: Category) -> Mapping[str, Category]:
    return {category.name: category for category in categories}


CATEGORIES = _table(
    Category("CARD", "user.financial.credit_card", 4, compact=True),
    Category("CARD_CODE", "user.financial.credit_card.security_code", 4, compact=True),
    Category("IBAN", "user.financial.bank_account.iban", 4, compact=True),
    Category("BANK_ACCOUNT", "user.financial.bank_account", 4, compact=True),
    Category("WALLET", "user.financial.wallet", 4),
    Category("SSN", "user.government_id.national_identification_number", 4, compact=True),
    Category("NATIONAL_ID", "user.government_id.national_identification_number", 4, compact=True),
    Category("TAX_ID", "user.government_id.tax_number", 4, compact=True),
    Category("PASSPORT", "user.government_id.passport_number", 4, compact=True),
    Category("DRIVER_LICENSE", "user.government_id.drivers_license_number", 4, compact=True),
    Category("MEDICAL_ID", "user.health_and_medical.record_id", 4, compact=True),
    Category("DIAGNOSIS", "user.health_and_medical", 4, compact=True),
    Category("PASSWORD", "user.authorization.password", 4),
    Category("PIN", "user.authorization.credentials.pin", 4, compact=True),
    Category("SECRET", "user.authorization.credentials", 4),
    Category("PRIVATE_KEY", "user.authorization.credentials.private_key", 4),
    Category("EMAIL", "user.contact.email", 3),
    Category("PHONE", "user.contact.phone_number", 3, compact=True),
    Category("ADDRESS", "user.contact.address", 3),
    Category("PERSON", "user.name", 3),
    Category("BIRTH_DATE", "user.demographic.date_of_birth", 3, compact=True),
    Category("USERNAME", "user.account.username", 3),
    Category("PERSONAL_ID", "user.unique_id", 3, compact=True),
    Category("LOCATION", "user.location.precise", 3),
    Category("IP_ADDRESS", "user.device.ip_address", 2),
    Category("DEVICE_ID", "user.device.device_id", 2, compact=True),
    Category("ABOUT_HEALTH", "user.health_and_medical", 4, masked=False),
    Category("ABOUT_BELIEF", "user.demographic.religious_belief", 4, masked=False),
    Category("ABOUT_UNION", "user.workplace.union_membership", 4, masked=False),
    Category("ABOUT_SEXUALITY", "user.demographic.sexual_orientation", 4, masked=False),
    Category("WITHHELD", "user.content.private", 4),
    Category("ORGANIZATION", "user.workplace.organization", 2, modelled=True),
)
"""By name. WITHHELD is a whole text in which finds do not come to an end."""
