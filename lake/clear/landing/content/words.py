"""Words that say what stands next to them, by language: alternatives of a pattern without regard to case."""

from __future__ import annotations


def any_of(*words: str) -> str:
    """A group of alternatives."""
    return "(?:" + "|".join(words) + ")"


PASSWORD = any_of(
    r"pass ?-?words?", r"passwd", r"\bpwd", r"_pwd", r"pass ?-?phrases?", r"pass ?-?codes?", r"\bpassw?\b",
    r"_pass\b", r"passwort", r"passwörter", r"kennwort", r"zugangscode", r"mot de passe", r"\bmdp\b",
    r"contrase(?:ñ|n)a", r"\bclave\b", r"\bsenha", r"palavra-passe", r"wachtwoord", r"has(?:ł|l)o\b",
    r"parola d'ordine", r"\bparola\b", r"lösenord", r"adgangskode", r"passord", r"salasana", r"\bheslo\b", r"jelszó",
    r"şifre", r"пароль", r"密码", r"密碼", r"口令", r"パスワード", r"비밀번호", r"mật khẩu", r"kata sandi",
    r"รหัสผ่าน", r"كلمة المرور", r"كلمة السر", r"סיסמה", r"κωδικός",
)  # fmt: skip
PIN = any_of(
    r"\bpins?\b", r"\bpin[- ]?codes?", r"\botp\b", r"\btan\b", r"\b2fa\b", r"\bmfa\b", r"verification codes?",
    r"one[- ]time (?:pass)?codes?", r"security codes?", r"auth(?:entication)? codes?", r"access codes?",
    r"bestätigungscode", r"sicherheitscode", r"geheimzahl", r"code de vérification", r"código de verificación",
    r"暗証番号", r"验证码",
)  # fmt: skip
CARD = any_of(
    r"credit card", r"debit card", r"\bcard (?:no|num|number|nr|#)", r"\bcard\b", r"\bvisa\b", r"master ?card",
    r"\bamex\b", r"american express", r"kreditkarte", r"kartennummer", r"carte bancaire", r"carte de cr[ée]dit",
    r"tarjeta", r"carta di credito", r"cart[ãa]o de cr[ée]dito", r"creditcard", r"карт[аы]", r"信用卡",
)  # fmt: skip
CARD_CODE = any_of(r"\bcvv2?\b", r"\bcvc2?\b", r"\bcsc\b", r"card verification", r"prüfziffer", r"kartenprüfnummer")
SSN = any_of(r"\bssns?\b", r"social security", r"\bsoc\.? ?sec", r"sozialversicherung", r"\bsss\b")
PASSPORT = any_of(
    r"passport", r"reisepass", r"\bpass-?(?:nr|nummer)", r"passeport", r"pasaporte", r"passaporto", r"passaporte",
    r"paspoort", r"paszport", r"паспорт", r"护照", r"パスポート",
)  # fmt: skip
DRIVER_LICENSE = any_of(
    r"driv(?:er|ers|er'?s|er’s|ing)'? ?-?licen[cs]e", r"\bdl ?(?:no|num|number|nr|#|:)", r"licen[cs]e (?:no|num|number|id|#)",
    r"führerschein", r"permis de conduire", r"licencia de conducir", r"carn[eé] de conducir", r"patente di guida",
    r"carteira de (?:motorista|habilitação)", r"rijbewijs", r"prawo jazdy", r"водительск",
)  # fmt: skip
TAX = any_of(
    r"\btax ?-?(?:payer)? ?-?(?:id|identification|identifier|no|num|number|ref|reference|file)", r"\btins?\b", r"\bitin\b",
    r"\bein\b", r"\bfein\b", r"employer identification", r"steuer-?id", r"steuernummer", r"steueridentifikation",
    r"\bidnr\b", r"\bust-?id", r"numéro fiscal", r"\bnif\b", r"\bcif\b", r"codice fiscale", r"partita iva",
    r"\bcpf\b", r"\bcnpj\b", r"\bvat ?(?:id|no|num|number|reg)", r"\bpan\b", r"\bgstin\b", r"\butr\b", r"\babn\b",
    r"\btfn\b", r"\bnip\b", r"\bинн\b", r"税号",
)  # fmt: skip
NATIONAL_ID = any_of(
    r"\baadhaa?r", r"national ?-?(?:id|identity|identification|insurance)", r"\bnin\b", r"\bnino\b", r"\bid ?card",
    r"identity card", r"identity number", r"personalausweis", r"ausweisnummer", r"carte d'identité", r"\bdni\b",
    r"\bnie\b", r"\bpesel\b", r"\bbsn\b", r"burgerservicenummer", r"personnummer", r"\bsin\b", r"social insurance",
    r"\bvoter", r"police id", r"resident id", r"government id", r"my ?number", r"身份证", r"マイナンバー", r"снилс",
)  # fmt: skip
MEDICAL = any_of(
    r"\bmrn\b", r"medical (?:record|file|id)", r"health record", r"patient ?-?(?:id|no|num|number|file|record|#)",
    r"patient ?-?identifier", r"insurance ?-?(?:id|no|num|number|policy|member|card|code|#)", r"policy ?-?(?:no|num|number|#)", r"\bnhs\b", r"medicare",
    r"medicaid", r"member ?-?(?:id|no|num|number)", r"beneficiary", r"versicherten-?(?:nr|nummer)", r"krankenkasse",
    r"numéro de sécurité sociale", r"prescription (?:no|num|number|#)", r"\brx ?#",
)  # fmt: skip
DIAGNOSIS = any_of(r"\bicd(?:-?(?:9|10|11))?(?:-?cm)?\b", r"\bdiagnos[a-z]{1,6}", r"\bdx\b")
ACCOUNT = any_of(
    r"account", r"\bacct", r"\bacc(?:num|no|nr|:)", r"\ba/c\b", r"routing", r"\baba\b", r"\brtn\b", r"sort ?-?code", r"\biban\b", r"\bswift\b",
    r"kontonummer", r"\bkonto\b", r"bankleitzahl", r"\bblz\b", r"compte", r"cuenta", r"\bconto\b", r"rekening",
    r"\bcbu\b", r"\bclabe\b", r"\bbsb\b", r"\bifsc\b", r"сч[её]т", r"账号", r"口座",
)  # fmt: skip
IBAN = any_of(r"\biban\b", r"account", r"konto", r"compte", r"cuenta", r"\bconto\b", r"rekening", r"bank", r"transfer")
PHONE = any_of(
    r"phones?", r"\btel\b", r"\btel[.:]", r"telephone", r"mobiles?\b", r"\bcell\b", r"cell ?phone", r"\bfax\b", r"whatsapp",
    r"\bcall\b", r"\bdial\b", r"\bring me\b", r"\btext me\b", r"\bsms\b", r"\bcontact", r"reach (?:me|him|her|us|them)", r"answer(?:s|ing)?(?: at| on)?\b",
    r"\bhandy", r"telefon", r"rufnummer", r"téléphone", r"portable", r"teléfono", r"móvil", r"cellulare", r"telefone",
    r"celular", r"telefoon", r"телефон", r"电话", r"手机", r"電話",
)  # fmt: skip
BIRTH = any_of(
    r"\bdob\b", r"\bd\.o\.b", r"date of birth", r"birth ?-?date", r"birth ?-?day", r"\bborn\b", r"geburtsdatum", r"geburtstag",
    r"geboren", r"\bgeb\.", r"\bnée? le", r"date de naissance", r"fecha de nacimiento", r"nacid[oa] el",
    r"data di nascita", r"nat[oa] il", r"data de nascimento", r"geboortedatum", r"data urodzenia", r"дата рождения",
    r"生年月日", r"出生日期",
)  # fmt: skip
PERSONAL_ID = any_of(
    r"(?:employee|staff|personnel|customer|client|student|badge|user|subscriber|worker|applicant|loyalty)"
    r" ?-?(?:id|no|num|number|#)s?\b",
    r"\bid(?:entification)? ?(?:no|num|number|nr|#)\b", r"\bidentifiers?\b", r"personalnummer", r"kundennummer", r"mitarbeiternummer", r"matrikelnummer", r"\bpid\b",
)  # fmt: skip
USERNAME = any_of(
    r"user ?-?names?", r"\blogin(?: name)?", r"user ?-?ids?\b", r"benutzer(?:name)?", r"identifiant", r"usuario",
    r"nome utente", r"логин",
)  # fmt: skip
MONTH = any_of(
    r"jan(?:uary|uar|vier)?", r"feb(?:ruary|ruar)?", r"février", r"mar(?:ch|s|zo)?", r"märz", r"a[pv]r(?:il)?", r"ma[yi]",
    r"june?", r"juni", r"juin", r"july?", r"juli", r"juillet", r"aug(?:ust)?", r"août", r"sept?(?:ember|embre)?",
    r"o[ck]t(?:ober|obre)?", r"nov(?:ember|embre)?", r"de[cz](?:ember)?", r"décembre", r"enero", r"febrero", r"abril",
    r"mayo", r"junio", r"julio", r"agosto", r"septiembre", r"octubre", r"noviembre", r"diciembre",
)  # fmt: skip
POSTCODE = any_of(
    r"\bzip ?codes?\b", r"\bzip:", r"post(?:al)? ?codes?\b", r"\bplz\b", r"postleitzahl", r"code postal", r"c[oó]digo postal", r"\bcap\b:",
)  # fmt: skip
HOME = any_of(
    r"\baddress(?:es)?", r"\badresse", r"anschrift", r"wohnhaft", r"direcci[oó]n", r"indirizzo", r"endere[cç]o", r"\badres\b", r"адрес", r"住所", r"地址",
)  # fmt: skip
NO_PASSWORDS = frozenset({
    "a", "abgelaufen", "an", "and", "any", "are", "as", "at", "be", "been", "before", "but", "by", "can",
    "change", "changed", "correct", "created", "darf", "das", "debe", "default", "dein", "deine", "der", "die",
    "does", "doit", "each", "empty", "enabled", "encrypted", "enter", "entered", "es", "est", "expired",
    "expires", "falsch", "false", "field", "fields", "file", "for", "forgotten", "form", "from", "für",
    "generator", "geändert", "has", "hash", "hashed", "hashes", "hashing", "have", "hint", "if", "ihr", "in",
    "incorrect", "incorrecta", "input", "insecure", "invalid", "is", "ist", "it", "its", "length", "less",
    "lock", "login", "longer", "manager", "managers", "mandatory", "match", "matches", "missing", "muss",
    "must", "my", "needed", "needs", "never", "new", "nicht", "no", "none", "not", "null", "oder", "of", "off",
    "ok", "old", "olvidada", "on", "only", "optional", "or", "oublié", "page", "pas", "please", "policies",
    "policy", "prompt", "protected", "protection", "provided", "read", "recovery", "refused", "required",
    "requirement", "requirements", "requires", "requis", "reset", "resets", "reused", "rotation", "rule",
    "rules", "same", "saved", "secret", "secure", "security", "sent", "set", "shared", "sharing", "shorter",
    "should", "so", "sprays", "stored", "strength", "string", "strong", "stuffing", "than", "that", "the",
    "their", "them", "then", "there", "this", "to", "too", "true", "und", "undefined", "ungültig", "unknown",
    "unset", "update", "updated", "user", "username", "valid", "vergessen", "was", "weak", "were", "when",
    "which", "will", "with", "without", "wrong", "wurde", "you", "your", "zurücksetzen",
})  # fmt: skip
"""What follows the word password where no password does."""
