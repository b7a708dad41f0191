"""The invented vocabulary of synthetic telemetry. Every word here is made up or harmless; none is a real person."""

from __future__ import annotations

APPS = (
    "Figment Studio", "Ledgerwright", "Quillmark Editor", "Tabulon Sheets", "Mailbarrow", "Crestline Terminal",
    "Parlance Chat", "Browsewell", "Codeloft", "Slidewright", "Ticketgarden", "Atlasboard", "Notemason", "Queryforge",
    "Calendrix", "Wikiharbor", "Callspring Meetings", "Draftpine", "Vaultkeep", "Printwhistle", "Timesheet Otter",
    "Travelbarn", "Stockroom Nine", "Helpdesk Lantern",
)  # fmt: skip

HOSTS = (
    "wiki.marrowfield.example", "tickets.marrowfield.example", "mail.marrowfield.example", "git.marrowfield.example",
    "docs.tessellate.example", "search.brightquarry.example", "news.hollowpine.example", "maps.cindervale.example",
    "forum.codeloft.example", "packages.codeloft.example", "status.callspring.example", "travel.windlass.example",
    "payroll.marrowfield.example", "learn.oakenlamp.example", "weather.thistledown.example", "bank.copperlark.example",
    "clinic.fennelgate.example", "video.saltmarsh.example", "jobs.peregrine.example", "shop.tanglewood.example",
    "calendar.marrowfield.example", "intranet.marrowfield.example", "vendors.stockroom.example",
    "press.juniper.example",
)  # fmt: skip

PROJECTS = (
    "Nightjar", "Cobaltine", "Larkspurium", "Gantryfold", "Meridianth", "Ostrakon", "Pemberlock", "Quaverstone",
    "Ravelight", "Sorrelbank", "Thornwick", "Umbraline", "Verdigrain", "Whistledown", "Yarrowgate", "Zephyrlane",
    "Ambergrove", "Brackenridge", "Candlemere", "Dovetailor", "Emberlyn", "Foxgloveton", "Gossamere", "Hearthwell",
)  # fmt: skip

TITLE_PARTS = (
    "budget", "draft plan", "release notes", "meeting minutes", "customer list", "offer", "invoice review", "roadmap",
    "test report", "incident log", "risk register", "hiring plan", "contract", "training deck", "order form", "audit",
)  # fmt: skip

DEPARTMENTS = ("sales", "logistics", "finance", "support", "research", "facilities", "legal", "procurement")

PROMPT_OPENINGS = (
    "Please summarise", "Rewrite in a friendly tone", "Find the mistake in", "Translate into plain English",
    "List the open questions of", "Draft a reply about", "Explain to a newcomer", "Turn into a table",
    "Suggest three headlines for", "Check the figures in",
)  # fmt: skip

PROMPT_DETAILS = (
    "and keep every date", "in five sentences at most", "without naming the customer", "for the steering committee",
    "so that the supplier understands it", "and mark what is uncertain", "before the call this afternoon",
    "with the tone of our handbook",
)  # fmt: skip

SPEECH_OPENINGS = (
    "I would rather not ship", "We agreed last week to move", "Honestly the estimate was wrong for",
    "Let us ask the customer about", "Nobody has tested", "The auditors want to see", "I can take over",
    "We are two weeks behind on",
)  # fmt: skip

SPEECH_DETAILS = (
    "until the numbers are back", "and I will write it down", "because the supplier is late",
    "so please keep it between us", "as far as I remember", "and somebody has to call them",
    "which is fine with me", "before the quarter ends",
)  # fmt: skip

NOTE_OPENINGS = (
    "Delivers reliably on", "Struggles to prioritise", "Took the lead in", "Missed the deadline of",
    "Was absent during", "Mentored two colleagues in", "Asked to reduce hours on", "Shows great care with",
)  # fmt: skip

NOTE_DETAILS = (
    "and should be considered for promotion", "and we spoke about the workload", "after a difficult spring",
    "with little support from the team", "and the customer noticed", "so the goal is carried over",
)  # fmt: skip

MEETINGS = (
    "weekly stand-up", "quarterly review", "supplier call", "one-to-one", "design critique", "budget round",
    "incident review", "planning day",
)  # fmt: skip
