"""Errors to plant into the package, one at a time: each is a change of one place that some test has to notice.

`python -m tests.proof.planted` plants them; `test_planted` holds that each text still stands exactly once in its file.
"""

from __future__ import annotations

from typing import NamedTuple


class Planted(NamedTuple):
    """An error in one file of the package."""

    file: str
    """Its path below `openai_stream_guard/`."""
    effect: str
    """What is wrong then; the name of the error."""
    found_by: str
    """The test that finds it, below `tests/`."""
    old: str
    """Stands exactly once in the file."""
    new: str


PLANTED = (
    # decoding
    Planted(
        "decoding/reader.py", "a carriage return inside a frame is data",
        "unit/decoding/test_reader.py::test_the_fast_way_goes_no_further_than_the_other",
        "if _CR in text or end - position > self._limit:", "if end - position > self._limit:",
    ),
    Planted(
        "decoding/reader.py", "[DONE] counts as an event",
        "unit/decoding/test_reader.py::test_payloads_are_prompt",
        "self.events += len(payloads) - self._out.done", "self.events += len(payloads)",
    ),
    Planted(
        "decoding/reader.py", "lines of an event before the last do not count for max_event_bytes",
        "unit/decoding/test_reader.py::test_oversized",
        "if blocks.held_bytes + len(line.text) > self._limit:", "if len(line.text) > self._limit:",
    ),
    Planted(
        "decoding/reader.py", "the kept tail has a partial frame twice",
        "unit/decoding/test_reader.py::test_the_tail_is_the_end_of_what_came",
        "new = data[self._partial_in_tail :]", "new = data",
    ),
    Planted(
        "decoding/reader.py", "offsets of faults forget the frames before them",
        "unit/decoding/test_reader.py::test_every_vector_holds_under_every_cut",
        "self._lines.skip(self._uncounted)", "self._lines.skip(0)",
    ),
    Planted(
        "decoding/blocks.py", "an id with NUL is an id",
        "unit/decoding/test_blocks.py::test_ids_and_retries",
        r'case b"id" if b"\0" not in value:', 'case b"id":',
    ),
    Planted(
        "decoding/blocks.py", "fields behind the data are lost",
        "unit/decoding/test_blocks.py::test_names",
        "block.fields |= block.late_fields", "pass",
    ),
    Planted(
        "decoding/blocks.py", "a missing blank line loses the name of the next event",
        "unit/decoding/test_blocks.py::test_names",
        'return self._begin_block(line, {"event": block.data.event} | block.late_fields)',
        "return self._begin_block(line)",
    ),
    Planted(
        "decoding/blocks.py", "the API's error inside an unfinished event is lost",
        "unit/decoding/test_blocks.py::test_what_was_written_over_an_unfinished_event_is_kept",
        "written = self.out.payloads.pop() if self.out.payloads else None", "written = None",
    ),
    Planted(
        "decoding/dispatch.py", "a number that may be cut is an event at the end of the body",
        "unit/decoding/test_blocks.py::test_the_end_of_the_body",
        r'if needs_bracket and stripped[:1] not in (b"{", b"["):', "if False:",
    ),
    Planted(
        "decoding/event_data.py", "text behind [DONE] is another event",
        "unit/decoding/test_blocks.py::test_done",
        "if self._values and self._values[-1].text == DONE:", "if False:",
    ),
    Planted(
        "decoding/event_data.py", "lines of one value are joined without their line end",
        "unit/decoding/test_event_data.py::test_a_value_over_many_lines_is_one",
        r'self._open.append(b"\n")', "pass",
    ),
    Planted(
        "decoding/json_text.py", "an escape that is cut between two lines is forgotten",
        "unit/decoding/test_json_text.py::test_scanner_finds_the_end_however_the_text_is_cut",
        "self._ends_in_backslash = True", "pass",
    ),
    # apis
    Planted(
        "apis/chat.py", "an error beside text is overlooked on the short way",
        "unit/engine/test_short_ways.py::test_nothing_odd_passes_by_the_short_way",
        'if index.__class__ is not int or not text or choice.get("finish_reason") or value.get("error"):',
        'if index.__class__ is not int or not text or choice.get("finish_reason"):',
    ),
    Planted(
        "apis/chat.py", "log probabilities do not prevent `continue`",
        "unit/apis/test_continuation.py::test_only_plain_text_of_one_choice_is_continued",
        'if not plain or body.get("logprobs") or', "if not plain or",
    ),
    Planted(
        "apis/chat.py", "an answer that the API stores is replayed",
        "unit/apis/test_chat.py::test_a_stored_answer_is_not_repeated",
        'return self._request.body.get("store") is not True', "return True",
    ),
    Planted(
        "apis/chat_deltas.py", "log probabilities are cut in the middle of a token",
        "unit/apis/test_chat_deltas.py::test_logprobs_that_cannot_be_cut_diverge",
        "if said != wanted:", "if False:",
    ),
    Planted(
        "apis/completion.py", "[DONE] ends a half tool call",
        "unit/apis/test_chat.py::test_the_end_rules",
        'return rule != "learnt" and done and bool(self.seen) and self._calls_are_whole()',
        'return rule != "learnt" and done and bool(self.seen)',
    ),
    Planted(
        "apis/completion.py", "output behind a terminal event does not take it back",
        "behaviour/test_real_servers_laws.py::test_a_mark_that_does_not_stand_is_none",
        "self.settled, self.revoked = False, True", "self.revoked = True",
    ),
    Planted(
        "apis/request.py", "hosted tools make no request stateful",
        "behaviour/test_responses_recovery.py::test_requests_whose_state_is_the_servers_fail_closed",
        'return hosted and self.steps[-1] == "responses" and body.get("store") is not False', "return False",
    ),
    Planted(
        "apis/request.py", "a hostname of OpenAI's as the end of another is OpenAI's",
        "unit/apis/test_registry.py::test_only_exact_hosts_are_official",
        'return f".{self._name}".endswith(_EXACT_HOSTS)',
        'return self._name.endswith(tuple(host[1:] for host in _EXACT_HOSTS))',
    ),
    Planted(
        "apis/request.py", "tokens of one prompt are many prompts",
        "unit/apis/test_registry.py::test_the_number_of_answers_asked_for",
        "if isinstance(prompt, list) and prompt and type(prompt[0]) is not int else 1",
        "if isinstance(prompt, list) and prompt else 1",
    ),
    Planted(
        "apis/responses.py", "sealed reasoning is replayed under another id",
        "unit/apis/test_second_answer.py::test_sealed_content_keeps_its_own_id",
        'repeatable.discard("reasoning")', "pass",
    ),
    Planted(
        "apis/responses.py", "a tool call stays open",
        "unit/apis/test_responses.py::test_calls_are_held_until_they_are_done",
        "self._open_calls.discard(place)", "pass",
    ),
    Planted(
        "apis/responses.py", "text grows on a part that is closed, on the short way",
        "unit/engine/test_short_ways.py::test_nothing_odd_passes_by_the_short_way",
        "if key not in open_items or not self._sequence.follow(payload, number):",
        "if not self._sequence.follow(payload, number):",
    ),
    Planted(
        "apis/sequence.py", "a gap goes unnoticed while few wait behind it",
        "unit/apis/test_sequence.py::test_waiting_has_an_end",
        "if len(self._waiting) > _MAX_WAITING:", "if False:",
    ),
    Planted(
        "apis/sequence.py", "another event under a number that came is a duplicate",
        "unit/apis/test_sequence.py::test_another_event_under_a_known_number_ends_all_counting",
        "return is_remembered and self._hashes[number % _REMEMBERED] == hash(payload.raw)", "return is_remembered",
    ),
    Planted(
        "apis/second_answer.py", "a name is the beginning of another",
        "unit/apis/test_second_answer.py::test_names_compare_whole",
        "if whole and len(surplus) < len(text):", "if False:",
    ),
    Planted(
        "apis/second_answer.py", "a second answer keeps its own numbers",
        "unit/apis/test_responses.py::test_an_answer_broken_anywhere_is_repeated_without_a_seam",
        "self._number = number if self._number is None else self._number + 1", "self._number = number",
    ),
    Planted(
        "apis/transcript.py", "a text of which less is told as a whole has a hole",
        "unit/apis/test_second_answer.py::test_a_hole_is_one_missing_part_or_a_few_small_ones",
        "if len(told) >= len(whole):", "if len(told) > len(whole) + 1:",
    ),
    Planted(
        "apis/continuation.py", "a limit of tokens is not lowered by what was spent",
        "unit/apis/test_continuation.py::test_limits_are_lowered_by_what_was_spent",
        "request[name] = max(1, limit - spent)", "request[name] = limit",
    ),
    Planted(
        "apis/continuation.py", "a beginning of the caller's own is continued",
        "unit/apis/test_continuation.py::test_what_cannot_be_continued_is_not",
        "if isinstance(how, str) and messages and _is_assistants(messages[-1]):", "if False:",
    ),
    Planted(
        "apis/polled_response.py", "a queued response is finished",
        "unit/apis/test_polled_response.py::test_what_is_not_at_its_end_is_unfinished",
        '("queued", "in_progress", None)', '("in_progress", None)',
    ),
    Planted(
        "apis/detect_only.py", "one picture is enough, however many were asked for",
        "unit/apis/test_detect_only.py::test_as_many_pictures_as_were_asked_for",
        "self._marks.expected = request.choices", "self._marks.expected = 1",
    ),
    Planted(
        "apis/adapter.py", "an id that is a secret is shown",
        "behaviour/test_secrets.py::test_an_id_that_is_none_is_neither_told_nor_asked_for",
        "and _PLAIN_ID.fullmatch(given) and redact(given) == given:", "and _PLAIN_ID.fullmatch(given):",
    ),
    # engine
    Planted(
        "engine/session.py", "a stall behind keep-alives is not noticed",
        "unit/engine/test_session.py::test_keep_alives_do_not_hold_the_idle_clock",
        "if not attempt.out and self.decision is None and now >= self.deadline:", "if False:",
    ),
    Planted(
        "engine/session.py", "the API's error behind a complete answer is swallowed",
        "behaviour/test_real_servers_laws.py::test_an_error_behind_a_finish_is_raised_at_once",
        'if complete and fault.kind != "upstream_error":', "if complete:",
    ),
    Planted(
        "engine/session.py", "a second answer that ends too early completes the stream",
        "unit/engine/test_session.py::test_an_end_before_the_delivered_point_is_a_divergence",
        "if not self._delivery.caught_up:", "if False:",
    ),
    Planted(
        "engine/session.py", "what queued for longer than is left is asked for again",
        "behaviour/test_real_servers_laws.py::test_a_stall_before_the_first_event_is_asked_again_where_time_is_left",
        'if fault.kind == "stalled" and not self._attempt.items and attempt.seconds > self._recovery.deadline - now:',
        "if False:",
    ),
    Planted(
        "engine/session.py", "a server that goes on without text is not noticed to say nothing new",
        "behaviour/test_hostile_servers.py::test_a_replay_that_never_catches_up_is_given_up",
        "self._recovery.repeated(now - since if self._repeated > before else None)",
        "self._recovery.repeated(now - since)",
    ),
    Planted(
        "engine/delivery.py", "held events may take any memory",
        "unit/engine/test_delivery.py::test_what_may_be_held_is_bounded",
        "if self._held_bytes > self._max_held:", "if False:",
    ),
    Planted(
        "engine/delivery.py", "a resumed answer may lack a part of its text",
        "unit/apis/test_second_answer.py::test_what_a_resumed_answer_says_otherwise_is_a_gap_and_the_end",
        "elif self.is_rest or (", "elif (",
    ),
    Planted(
        "engine/delivery.py", "a tool call is handed out before it is whole",
        "unit/engine/test_delivery.py::test_tool_calls_lets_text_flow_and_holds_a_call_until_the_end",
        'or (self._mode == "tool_calls" and adapter.tool_call_open)', "",
    ),
    Planted(
        "engine/host_memory.py", "a divergence at temperature 1 forbids replays at 0",
        "unit/engine/test_host_memory.py::test_two_divergences_are_held_against_a_model_for_ten_minutes",
        "key = (host, model, deterministic)", "key = (host, model, True)",
    ),
    Planted(
        "engine/host_memory.py", "cuts at one moment are cuts at many",
        "unit/diagnosis/test_evidence.py::test_cuts_at_one_moment_are_one_event",
        "if earlier and earlier[-1].includes(cut.at, cut.seconds):", "if False:",
    ),
    Planted(
        "engine/recovery.py", "a request that has effects on a conversation is sent twice",
        "behaviour/test_responses_recovery.py::test_requests_whose_state_is_the_servers_fail_closed",
        'if request.stateful and "stateful" not in policy.recovery:', "if False:",
    ),
    Planted(
        "engine/recovery.py", "the veto of a divergence is not read after the wait",
        "unit/engine/test_recovery.py::test_a_divergence_that_others_met_meanwhile_forbids_a_replay",
        'if planned.way == "replay" and self._diverged_recently(now):', "if False:",
    ),
    Planted(
        "engine/recovery.py", "max_elapsed counts from the last fault",
        "unit/engine/test_recovery.py::test_max_elapsed_counts_from_the_first_fault_without_progress_after_it",
        "if self._no_progress_since is None:", "if True:",
    ),
    Planted(
        "engine/recovery.py", "time in which a second answer repeats counts for max_elapsed",
        "behaviour/test_deadlines.py::test_max_elapsed_stands_still_while_a_second_answer_repeats",
        "self._no_progress_since += seconds", "pass",
    ),
    Planted(
        "engine/recovery.py", "a poll that is refused probes for the whole host",
        "unit/engine/test_recovery.py::test_a_poll_that_is_refused_says_nothing_of_the_host",
        'scope = "stream" if planned.is_poll and refusal.scope == "host" else refusal.scope',
        "scope = refusal.scope",
    ),
    Planted(
        "engine/retry_budget.py", "tokens come back at the first event while re-issues break",
        "unit/engine/test_retry_budget.py::test_an_attempt_that_breaks_gives_back_what_it_brought",
        "if state.doubtful_since is None:\n                self._credit(state, ticket)",
        "if True:\n                self._credit(state, ticket)",
    ),
    Planted(
        "engine/retry_budget.py", "tokens that came back are kept where the attempt breaks",
        "unit/engine/test_retry_budget.py::test_an_attempt_that_breaks_gives_back_what_it_brought",
        "state.tokens = max(0.0, min(state.tokens, CAPACITY) - RETURNED)", "pass",
    ),
    Planted(
        "engine/retry_budget.py", "who has probed goes to the end of the queue",
        "unit/engine/test_retry_budget.py::test_a_host_that_refuses_is_probed_by_one_for_all",
        "queue.move_to_end(ticket, last=not was_prober)", "queue.move_to_end(ticket)",
    ),
    Planted(
        "engine/retry_rules.py", "a Retry-After that is too long is waited for",
        "unit/config/test_policy.py::test_too_long_a_wait_is_a_no",
        "if wait is not None and wait > MAX_RETRY_AFTER:", "if False:",
    ),
    Planted(
        "engine/retry_rules.py", "a rate limit that says how to stay below it is a prompt too large",
        "unit/apis/test_error_shapes.py::test_a_gateways_error_is_found_and_judged",
        "if any(_TOO_LARGE.search(text) and not _RATE.search(text) for text in words.messages):",
        "if any(_TOO_LARGE.search(text) for text in words.messages):",
    ),
    Planted(
        "engine/server_habits.py", "one answer without a finish_reason is forgiven",
        "behaviour/test_real_servers_laws.py::test_fewer_than_five_finishes_prove_nothing",
        "min(counts[with_call] + 1, PROOF) if finished else 0", "min(counts[with_call] + 1, PROOF)",
    ),
    Planted(
        "engine/server_habits.py", "an oddity at another place is a habit",
        "behaviour/test_real_servers_laws.py::test_a_hole_at_another_place_is_no_habit",
        "if repeated and self._seen == (oddity, delivered):", "if repeated and self._seen is not None:",
    ),
    Planted(
        "engine/deadlines.py", "a host that goes on after its marks is cut off",
        "behaviour/test_real_servers_laws.py::test_a_host_that_went_on_is_waited_for",
        'case "complete" if not goes_on:', 'case "complete":',
    ),
    # transport
    Planted(
        "transport/drivers.py", "missing bytes are left to a reader of raw bytes to see",
        "behaviour/test_raw_readers.py::test_missing_bytes_are_the_typed_error",
        '_MISSING_BYTES = ("disconnected", "truncated", "stalled")', '_MISSING_BYTES = ("disconnected", "stalled")',
    ),
    Planted(
        "transport/exchange.py", "a stream that on_event closes is closed by the library",
        "behaviour/test_sdk_cancelling.py::test_a_hook_may_close_the_stream",
        "if self._sdk.notifying:", "if False:",
    ),
    Planted(
        "transport/exchange.py", "the fault keeps its stream in a reference cycle",
        "behaviour/test_sdk_closing.py::test_a_recovered_stream_that_is_dropped_is_closed_at_once",
        "error.__traceback__ = error.__traceback__.tb_next", "pass",
    ),
    Planted(
        "transport/timeouts.py", "a read that is shorter than the deadline is lengthened",
        "behaviour/test_errors_raised.py::test_a_stall_is_a_timeout_in_the_words_of_both",
        "if timeout is None or left < timeout:", "if True:",
    ),
    Planted(
        "transport/timeouts.py", "bytes that a busy event loop has not delivered are a stall",
        "unit/transport/test_timeouts.py::test_a_read_whose_loop_was_held_up_is_given_the_bytes_that_came",
        "if is_late and was_late and self._reading is not None:", "if is_late and self._reading is not None:",
    ),
    Planted(
        "transport/exceptions.py", "any OSError is a broken connection",
        "unit/transport/test_exceptions.py::test_the_programs",
        "return isinstance(error, _CONNECTION_ERRORS) or error.errno in _CONNECTION_ERRNOS", "return True",
    ),
    Planted(
        "transport/exceptions.py", "a program's own timeout is the network's silence",
        "unit/transport/test_exceptions.py::test_a_signal_handlers_exception_is_the_programs",
        "if _is_thrown_by_program(_root(error)):", "if False:",
    ),
    Planted(
        "transport/http.py", "a reader that an event hook has set is passed over",
        "behaviour/test_guest.py::test_a_reader_that_an_event_hook_has_replaced_is_read",
        "and not _has_own_reader(response)", "",
    ),
    Planted(
        "transport/http.py", "a reader that stood on the response is not put back",
        "behaviour/test_guest.py::test_a_reader_that_an_event_hook_has_replaced_is_read",
        "setattr(response, self._name, self._replaced)", "delattr(response, self._name)",
    ),
    # sdk
    Planted(
        "sdk/requests.py", "the SDK's retries multiply with the guard's",
        "behaviour/test_sdk_reissue.py::test_a_refused_re_issue_is_counted_and_the_first_error_raised",
        "options.max_retries = 0", "pass",
    ),
    Planted(
        "sdk/requests.py", "a re-issue asks for a raw response, as the first request did",
        "behaviour/test_sdk.py::test_every_entry_point_is_guarded",
        "if name not in _RAW_HEADERS}", "}",
    ),
    Planted(
        "sdk/requests.py", "what the program edits after the request is sent",
        "behaviour/test_sdk_reissue.py::test_what_the_program_edits_meanwhile_is_not_sent",
        "body = decision.body or _json_sent(request, first)", "body = decision.body",
    ),
    Planted(
        "sdk/requests.py", "an exception of the program's own is a refusal",
        "behaviour/test_guest.py::test_what_a_program_raises_while_a_request_is_sent_again_is_its_own",
        "if isinstance(cause, Exception) and not isinstance(cause, openai.APIError) and fault_from(cause) is None:",
        "if False:",
    ),
    Planted(
        "sdk/requests.py", "the read timeout of a re-issue stays capped",
        "behaviour/test_deadlines.py::test_a_body_that_was_asked_for_again_is_read_as_patiently_as_the_first",
        'request_timeouts(response.request)["read"] = request_timeouts(first).get("read")', "pass",
    ),
    Planted(
        "sdk/streams.py", "linger_timeout ends the bytes of a raw reader",
        "behaviour/test_raw_readers.py::test_what_comes_long_after_the_finish_is_read",
        "linger = math.inf if raw else policy.linger_timeout", "linger = policy.linger_timeout",
    ),
    Planted(
        "sdk/streams.py", "on_event may close the stream as if the library did",
        "behaviour/test_sdk_cancelling.py::test_a_hook_may_close_the_stream",
        "self.notifying = True", "pass",
    ),
    Planted(
        "sdk/patches.py", "the responses helper is not noticed",
        "behaviour/test_responses_recovery.py::test_the_helper_needs_one_identity",
        "guarded.one_identity = True", "pass",
    ),
    Planted(
        "sdk/patches.py", "a request that did not pass the patch of `request` is not guarded",
        "compatibility/test_sdk_beside.py::test_an_older_request_put_on_the_class_is_guarded",
        "request = RUNTIME.request.get() or _prepared_request(guarding(), client, kwargs)",
        "request = RUNTIME.request.get()",
    ),
    Planted(
        "sdk/decoder.py", "a program's own decoding is replaced",
        "behaviour/test_guest.py::test_a_stream_is_left_to_an_sdk_whose_decoding_is_patched",
        "if type(function) is not FunctionType or function.__globals__ is not vars(streaming):", "if function is None:",
    ),
    Planted(
        "sdk/raw_readers.py", "a compressed body is read as events",
        "behaviour/test_raw_readers.py::test_a_healthy_body_is_read_to_the_byte",
        'decoded = self._reader.endswith("iter_bytes") or "content-encoding" not in self._response.headers',
        "decoded = True",
    ),
)  # fmt: skip
