"""What is never collected, whatever a contract lists: programs, sites and words of window titles, by category.

Our own list. Programs are named by the file, bundle or package ids that their makers publish; sites by the domain of
the operator's own home page; words are those that the programs and sites show in their titles. It is not complete, and
need not be: what a contract does not list is not collected either. The list guards from a contract that lists too much.
Entries are lower case, in the form that ``lake.rules.contexts`` gives names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PASSWORDS, BANKING, TAX, HEALTH = "password_manager", "banking", "tax", "health"
HR, UNION, PRIVATE, REMOTE, INCOGNITO = "hr", "union", "private_communication", "remote_desktop", "incognito"

APPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        PASSWORDS: (
            "1password", "com.1password.1password", "com.agilebits.onepassword7", "bitwarden",
            "com.bitwarden.desktop", "keepass", "keepassxc", "org.keepassxc.keepassxc", "lastpass",
            "com.lastpass.lastpass", "dashlane", "com.dashlane.dashlane", "nordpass", "keeper",
            "keeperpasswordmanager", "enpass", "in.sinew.enpass-desktop", "roboform", "proton pass", "me.proton.pass",
            "com.apple.keychainaccess", "keychain access", "com.apple.passwords", "passwords", "seahorse",
            "org.gnome.seahorse.application", "kwalletmanager5", "gnome-keyring", "authy", "authy desktop",
            "yubico authenticator", "pass", "qtpass", "strongbox",
        ),
        BANKING: (
            "moneymoney", "starmoney", "banking4", "quicken", "gnucash", "wiso mein geld", "paypal", "revolut",
            "hibiscus", "jameica", "moneydance", "ynab",
        ),
        TAX: (
            "turbotax", "wiso steuer", "wiso steuer 2025", "elsterformular", "taxact", "h&r block",
            "steuersparerklärung", "impots.gouv", "taxfix",
        ),
        HEALTH: ("mychart", "com.apple.health", "doctolib", "ada", "tk-app", "nhs app", "teladoc", "headspace", "calm"),
        HR: ("workday", "com.workday.workdaymobile", "personio", "bamboohr", "sap successfactors"),
        PRIVATE: (
            "whatsapp", "net.whatsapp.whatsapp", "whatsapp desktop", "signal", "signal-desktop",
            "org.whispersystems.signal-desktop", "telegram", "telegram-desktop", "org.telegram.desktop",
            "ru.keepcoder.telegram", "messages", "com.apple.mobilesms", "imessage", "facetime", "com.apple.facetime",
            "viber", "threema", "wire", "wechat", "com.tencent.xinwechat", "line", "kakaotalk", "messenger",
            "com.facebook.archon", "discord", "com.hnc.discord", "session", "element", "im.riot.app", "skype",
            "tutanota", "proton mail", "protonmail-bridge",
        ),
        REMOTE: (
            "mstsc", "msrdc", "com.microsoft.rdc.macos", "remote desktop connection", "anydesk",
            "com.philandro.anydesk", "teamviewer", "com.teamviewer.teamviewer", "rustdesk", "vncviewer", "realvnc",
            "tigervnc", "remmina", "org.remmina.remmina", "citrix workspace", "wfica", "wfcrun32", "vmware-view",
            "parsec", "parsecd", "nomachine", "nxplayer", "com.apple.remotedesktop", "screen sharing",
            "com.apple.screensharing", "splashtop", "krdc",
        ),
    }
)  # fmt: skip

SITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        PASSWORDS: (
            "1password.com", "1password.eu", "1password.ca", "bitwarden.com", "bitwarden.eu", "lastpass.com",
            "dashlane.com", "nordpass.com", "keepersecurity.com", "keepersecurity.eu", "pass.proton.me",
            "passwords.google.com", "enpass.io",
        ),
        BANKING: (
            "bank", "paypal.com", "revolut.com", "n26.com", "wise.com", "chase.com", "bankofamerica.com",
            "wellsfargo.com", "citibank.com", "citi.com", "capitalone.com", "usbank.com", "hsbc.com", "hsbc.co.uk",
            "barclays.co.uk", "lloydsbank.com", "natwest.com", "santander.com", "santander.co.uk", "monzo.com",
            "starlingbank.com", "deutsche-bank.de", "commerzbank.de", "sparkasse.de", "dkb.de", "ing.de", "ing.nl",
            "ing.com", "comdirect.de", "postbank.de", "volksbank.de", "abnamro.nl", "rabobank.nl", "bunq.com",
            "bnpparibas", "bnpparibas.fr", "societegenerale.fr", "credit-agricole.fr", "creditmutuel.fr",
            "labanquepostale.fr", "boursorama.com", "bbva.com", "bbva.es", "caixabank.es", "unicredit.it",
            "intesasanpaolo.com", "ubs.com", "postfinance.ch", "raiffeisen.at", "raiffeisen.ch", "erstebank.at",
            "nordea.com", "danskebank.dk", "seb.se", "swedbank.se", "mbank.pl", "pkobp.pl", "sberbank.ru",
            "tinkoff.ru", "itau.com.br", "nubank.com.br", "coinbase.com", "kraken.com", "binance.com", "fidelity.com",
            "schwab.com", "vanguard.com",
        ),
        TAX: (
            "irs.gov", "turbotax.intuit.com", "hrblock.com", "taxact.com", "freetaxusa.com", "elster.de",
            "wiso-steuer.de", "taxfix.de", "smartsteuer.de", "impots.gouv.fr", "belastingdienst.nl",
            "agenziaentrate.gov.it", "agenciatributaria.gob.es", "agenciatributaria.es", "skatteverket.se", "skat.dk",
            "finanzonline.bmf.gv.at", "tax.service.gov.uk", "podatki.gov.pl", "canada.ca",
        ),
        HEALTH: (
            "mychart.com", "mychart.org", "healthcare.gov", "medicare.gov", "nhs.uk", "doctolib.de", "doctolib.fr",
            "doctolib.it", "ameli.fr", "tk.de", "aok.de", "barmer.de", "dak.de", "jameda.de", "kaiserpermanente.org",
            "teladoc.com", "zocdoc.com", "webmd.com", "betterhelp.com", "plannedparenthood.org", "1177.se",
            "sundhed.dk", "gesundheit.gv.at", "elga.gv.at", "mijngezondheid.net", "netdoktor.de", "patient.info",
            "mayoclinic.org", "anthem.com", "aetna.com", "cigna.com", "uhc.com",
        ),
        HR: (
            "workday.com", "myworkday.com", "myworkdayjobs.com", "bamboohr.com", "personio.com", "personio.de",
            "successfactors.com", "successfactors.eu", "adp.com", "paychex.com", "gusto.com", "rippling.com",
            "zenefits.com", "ukg.com", "ultipro.com", "hibob.com", "factorialhr.com", "payfit.com",
            "benefitfocus.com", "lyrahealth.com", "modernhealth.com", "glassdoor.com", "indeed.com", "kununu.com",
        ),
        UNION: (
            "aflcio.org", "seiu.org", "cwa-union.org", "code-cwa.org", "uaw.org", "teamster.org", "unionize.org",
            "alphabetworkersunion.org", "techworkerscoalition.org", "unionlearn.org.uk", "tuc.org.uk",
            "unitetheunion.org", "unison.org.uk", "igmetall.de", "verdi.de", "dgb.de", "igbce.de", "cfdt.fr",
            "cgt.fr", "force-ouvriere.fr", "fnv.nl", "ccoo.es", "ugt.es", "cgil.it", "uniglobalunion.org", "etuc.org",
            "nlrb.gov", "workerorganizing.org", "coworker.org",
        ),
        PRIVATE: (
            "gmail.com", "mail.google.com", "outlook.live.com", "hotmail.com", "mail.yahoo.com", "proton.me",
            "protonmail.com", "tuta.com", "tutanota.com", "gmx.de", "gmx.net", "gmx.com", "web.de", "mail.ru",
            "posteo.de", "mailbox.org", "icloud.com", "fastmail.com", "zoho.com", "mail.com", "laposte.net",
            "libero.it", "wp.pl", "onet.pl", "whatsapp.com", "web.telegram.org", "telegram.org", "t.me",
            "messenger.com", "facebook.com", "instagram.com", "discord.com", "snapchat.com", "signal.org",
            "threema.ch", "tinder.com", "bumble.com", "okcupid.com", "grindr.com", "vk.com", "reddit.com",
            "messages.google.com", "messages.android.com",
        ),
        REMOTE: (
            "remotedesktop.google.com", "teamviewer.com", "anydesk.com", "logmein.com", "gotomypc.com",
            "splashtop.com", "parsec.app", "windows.cloud.microsoft", "client.wvd.microsoft.com",
        ),
    }
)  # fmt: skip

WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        INCOGNITO: (
            "inprivate", "incognito", "private browsing", "private window", "privates fenster", "privater modus",
            "navigation privee", "fenetre privee", "navegacion privada", "ventana privada", "navegacao privada",
            "navigazione anonima", "finestra anonima", "prive-venster", "privevenster", "tryb prywatny",
            "okno prywatne", "инкогнито", "приватный просмотр", "无痕", "隐身", "シークレット",
            "プライベートブラウズ", "gizli pencere", "tor browser",
        ),
        PASSWORDS: (
            "1password", "bitwarden", "keepass", "keepassxc", "lastpass", "dashlane", "nordpass", "password manager",
            "passwort-manager", "passwortmanager", "gestionnaire de mots de passe", "gestor de contrasenas",
            "gestore password", "wachtwoordbeheer", "менеджер паролей", "change password", "reset password",
            "passwort andern", "passwort zurucksetzen", "changer le mot de passe", "keychain access", "schlusselbund",
        ),
        BANKING: (
            "online banking", "onlinebanking", "online-banking", "internet banking", "internetbanking", "e-banking",
            "ebanking", "netbanking", "sparkasse", "kontostand", "kontoauszug", "girokonto", "uberweisung",
            "account balance", "bank statement", "bank account", "wire transfer", "releve de compte",
            "releve bancaire", "compte bancaire", "virement", "banque en ligne", "banca en linea", "banca online",
            "banca electronica", "cuenta bancaria", "extracto bancario", "conto corrente", "estratto conto",
            "home banking", "internetbankieren", "mijn ing", "bankrekening", "bankowosc internetowa", "konto bankowe",
            "интернет-банк", "сбербанк", "网上银行", "ネットバンキング", "credit card statement",
            "kreditkartenabrechnung", "paypal",
        ),
        TAX: (
            "tax return", "tax refund", "income tax", "turbotax", "form 1040", "w-2", "steuererklarung",
            "einkommensteuer", "steuerbescheid", "lohnsteuer", "finanzamt", "mein elster", "declaration de revenus",
            "declaration d'impots", "impots", "avis d'imposition", "declaracion de la renta", "agencia tributaria",
            "dichiarazione dei redditi", "agenzia delle entrate", "belastingaangifte", "belastingdienst",
            "zeznanie podatkowe", "declaracao de imposto", "налоговая декларация", "报税", "確定申告",
        ),
        HEALTH: (
            "mychart", "patient portal", "medical record", "medical records", "lab results", "test results - health",
            "prescription", "diagnosis", "therapist", "doctor appointment", "patientenportal", "patientenakte",
            "krankenkasse", "krankmeldung", "arbeitsunfahigkeit", "arzttermin", "befund", "diagnose",
            "rezept einlosen", "doctolib", "dossier medical", "carte vitale", "assurance maladie", "ordonnance",
            "historia clinica", "cita medica", "receta medica", "fascicolo sanitario", "cartella clinica", "referto",
            "medisch dossier", "huisarts", "zorgverzekering", "dokumentacja medyczna", "e-recepta",
            "prontuario medico", "медицинская карта", "病历", "診断", "pregnancy test", "fertility clinic",
        ),
        HR: (
            "payslip", "pay slip", "pay stub", "paystub", "salary statement", "open enrollment",
            "benefits enrollment", "health benefits", "leave of absence", "sick leave", "parental leave",
            "disciplinary", "performance improvement plan", "gehaltsabrechnung", "lohnabrechnung",
            "entgeltabrechnung", "elternzeit", "kundigung", "abmahnung", "bulletin de paie", "fiche de paie",
            "bulletin de salaire", "nomina", "busta paga", "loonstrook", "salarisstrook", "pasek wynagrodzenia",
            "holerite", "расчетный лист", "工资单", "給与明細", "myworkday", "401(k)", "401k",
        ),
        UNION: (
            "union card", "union organizing", "union organising", "labor union", "labour union", "trade union",
            "unionize", "collective bargaining", "strike fund", "works council", "gewerkschaft", "betriebsrat",
            "betriebsratswahl", "tarifverhandlung", "streikaufruf", "ig metall", "syndicat",
            "comite social et economique", "sindicato", "comite de empresa", "sindacato", "vakbond",
            "ondernemingsraad", "zwiazek zawodowy", "профсоюз", "工会", "労働組合",
        ),
        PRIVATE: (
            "whatsapp", "signal messenger", "telegram", "facebook messenger", "imessage", "threema", "wechat",
            "viber", "gmail", "yahoo mail", "proton mail", "protonmail", "gmx", "web.de", "hotmail", "icloud mail",
            "private nachricht", "direct message", "dating", "tinder", "grindr", "微信",
        ),
        REMOTE: (
            "remote desktop", "remotedesktop", "remotedesktopverbindung", "bureau a distance", "escritorio remoto",
            "desktop remoto", "extern bureaublad", "pulpit zdalny", "удаленный рабочий стол", "远程桌面",
            "リモートデスクトップ", "anydesk", "teamviewer", "rustdesk", "vnc viewer", "citrix",
        ),
    }
)  # fmt: skip
"""Words of titles, without accents, as they stand after normalising."""

BROWSERS: frozenset[str] = frozenset(
    {
        "chrome", "google chrome", "com.google.chrome", "google-chrome", "chromium", "chromium-browser",
        "org.chromium.chromium", "firefox", "org.mozilla.firefox", "mozilla firefox", "firefox-esr", "librewolf",
        "waterfox", "msedge", "microsoft edge", "com.microsoft.edgemac", "microsoft-edge", "safari",
        "com.apple.safari", "opera", "com.operasoftware.opera", "opera gx", "brave", "brave browser",
        "com.brave.browser", "brave-browser", "vivaldi", "com.vivaldi.vivaldi", "vivaldi-bin", "arc",
        "company.thebrowser.browser", "iexplore", "internet explorer", "tor browser", "torbrowser", "epiphany",
        "gnome web", "konqueror", "falkon", "qutebrowser", "yandex", "yandex browser", "duckduckgo",
        "com.duckduckgo.macos.browser", "samsung internet", "ucbrowser", "whale", "zen", "zen browser", "orion",
        "comet", "dia", "chatgpt atlas",
    }
)  # fmt: skip
"""Programs whose titles and keys belong to whatever page they show: they are judged by the site."""
