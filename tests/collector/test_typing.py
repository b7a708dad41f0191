"""A card number typed key by key, through the SDK to the real server: no part of it lands."""

from __future__ import annotations

import re

from tests.collector.lab import Lab, upload

CONTRACT = """
dataset: writing
version: 1
title: Writing
notice: Made up for tests.
purposes: [incident]
retention: {"1": 90d, "2": 90d, "3": 30d, "4": 30d}
fields:
  app: {type: string, sensitivity: 1, notice: The program.}
  field_kind: {type: string, sensitivity: 1, notice: Which kind of field.}
  device: {type: string, sensitivity: 1, notice: Which computer.}
  seq: {type: int64, sensitivity: 1, notice: The number of the key.}
  key: {type: string, sensitivity: 4, notice: The key.}
  typed_text: {type: string, sensitivity: 4, max_length: 4096, notice: What was typed.}
  presses: {type: int64, sensitivity: 1, notice: How many keys.}
events:
  key: {sensitivity: 1, notice: A key., fields: [app, field_kind, device, seq, key], required: [key, seq]}
  typed: {sensitivity: 4, notice: A text., fields: [app, field_kind, device, typed_text, presses]}
filter:
  fields: {app: app, kind: field_kind, device: device, seq: seq, key: key, text: typed_text}
  capture: {key: {level: runs, into: typed, text: typed_text, keys: presses, purpose: incident}}
  apps: {editor: office}
"""
POLICY = """
purposes: {incident: Incidents}
roles: {all: {grants: [{dataset: writing, purposes: [incident], sensitivity: 4, employee_id: real}]}}
users: {vera: {roles: [all]}}
"""
CARD = "4539148803436467"
KEYS = [*"pay 4539 19", "Backspace", *"48 8034364", "ArrowLeft", "ArrowRight", "9", "Backspace", *"67 today", "Enter"]


def test_a_card_number_over_three_batches_and_two_uploads_never_lands(lab: Lab) -> None:
    lab.site.lake.add_contract(CONTRACT)
    lab.site.lake.apply_policy(POLICY)
    collector = lab.collector(dataset="writing", types=frozenset({"key"}))
    collector.keeper.step()
    for number, key in enumerate(KEYS):
        assert collector.record({"type": "key", "app": "editor", "field_kind": "text", "device": "ada-1", "key": key})
        lab.pass_(0.2)
        if number in {9, 18}:
            collector.spool.close_batch()
        if number == 18:
            upload(collector)
            assert lab.site.world.rows("SELECT * FROM writing", "vera") == []
    upload(collector)
    assert collector.counts["batches"] == 3
    (row,) = lab.site.world.rows("SELECT typed_text, presses FROM writing", "vera")
    assert row["presses"] == len(KEYS)
    assert row["typed_text"].startswith("pay ")
    assert row["typed_text"].rstrip().endswith("today")
    assert not re.search(r"\d{4}", re.sub(r"\[[^\]]*\]", "", row["typed_text"]))
    assert "[CARD" in row["typed_text"].upper()


def test_numbers_of_keys_have_no_gap_where_a_secret_field_was(lab: Lab) -> None:
    lab.site.lake.add_contract(CONTRACT)
    lab.site.lake.apply_policy(POLICY)
    collector = lab.collector(dataset="writing", types=frozenset({"key"}))
    collector.keeper.step()
    fields = ["text"] * 3 + ["password"] * 8 + ["text"] * 2
    for kind, key in zip(fields, [*"ab", "Enter", *"hunter22", "c", "Enter"], strict=True):
        collector.record({"type": "key", "app": "editor", "field_kind": kind, "device": "ada-1", "key": key})
    upload(collector)
    found = lab.site.world.rows("SELECT typed_text FROM writing ORDER BY typed_text", "vera")
    assert [row["typed_text"].strip() for row in found] == ["ab", "c"]
    assert collector.counts["field.password"] == 8
    (entry,) = lab.site.entries("ingest.upload")
    assert entry["filtered"] == {"field.password": 8}
