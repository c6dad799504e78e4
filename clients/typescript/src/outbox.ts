// Commands that are to count once and in order. Those to one topic go out one at a time: the next one when it is known what became
// of the one before, which is sent again with the same key until then.

import { Backoff } from "./backoff.js";
import { Timer } from "./clock.js";
import { MdstreamError } from "./errors.js";
import type { Answer, Command, Refused, Stored } from "./messages.js";
import { msgpack } from "./msgpack.js";
import type { Line } from "./topics.js";

/** The gateway keeps a key for two minutes. */
const GIVE_UP_MS = 30_000;
const MOST_WAITING = 1_000;
const TEMPORARY = new Set(["unavailable", "rate_limited"]);
/** A half of a surrogate pair, as JSON.stringify writes it. */
const HALF_PAIR = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/;

interface Letter {
  readonly command: Command;
  readonly until: number;
  sent: boolean;
  readonly refusal: Refusal;
  resolve(answer: Stored): void;
  reject(error: Error): void;
}

const boxes = new WeakMap<Line, Map<string, Outbox>>();

/** What a refused command is rejected with. */
export type Refusal = (message: string, answer: Refused) => MdstreamError;

/** Sends a command to a topic; resolves when it is stored. */
export function deliver(line: Line, topic: string, fields: Command, refusal: Refusal = refused): Promise<Stored> {
  const command = plain({ ...fields, topic, key: fields["key"] ?? newKey() }, line);
  const name = `${command.op} ${topic}`;
  const all = boxesOf(line);
  let box = all.get(name);
  if (box === undefined) {
    box = new Outbox(line, () => all.delete(name));
    all.set(name, box);
  }
  return box.add(command, refusal);
}

function boxesOf(line: Line): Map<string, Outbox> {
  const known = boxes.get(line);
  if (known !== undefined) return known;
  const all = new Map<string, Outbox>();
  boxes.set(line, all);
  line.on("state", (state) => {
    for (const box of [...all.values()]) {
      if (state === "closed") box.end();
      else box.pump();
    }
  });
  return all;
}

class Outbox {
  #letters: Letter[] = [];
  /** Until the next try, or until an answer is no longer waited for. */
  readonly #again: Timer;
  readonly #giveUp: Timer;
  readonly #backoff: Backoff;

  constructor(
    private readonly line: Line,
    private readonly emptied: () => void,
  ) {
    const { clock, policy, random } = line.session;
    this.#again = new Timer(clock);
    this.#giveUp = new Timer(clock);
    this.#backoff = new Backoff(policy, random);
  }

  add(command: Command, refusal: Refusal): Promise<Stored> {
    return new Promise((resolve, reject) => {
      const until = this.#now + GIVE_UP_MS;
      if (this.#letters.length >= MOST_WAITING) {
        return reject(new MdstreamError(`${said(command)}: ${MOST_WAITING} others wait already`, "unavailable"));
      }
      this.#letters.push({ command, until, sent: false, refusal, resolve, reject });
      if (this.line.state === "closed") this.end();
      else this.#watch();
      this.pump();
    });
  }

  /** Sends what comes next, unless something is on its way. */
  pump(): void {
    const letter = this.#letters[0];
    if (letter === undefined || this.#again.running || this.line.welcome === null) return;
    this.#again.set(this.line.session.policy.answerTimeoutMs, () => this.pump());
    letter.sent = true;
    this.line.say(letter.command, (answer) => {
      if (letter === this.#letters[0]) this.#take(letter, answer);
    });
  }

  end(): void {
    const why = this.line.error?.message ?? "the client was closed";
    for (const letter of this.#takeOut(Infinity)) letter.reject(unknown(letter, why));
  }

  get #now(): number {
    return this.line.session.clock.now();
  }

  #take(letter: Letter, answer: Answer | null): void {
    this.#again.stop();
    if (answer?.type === "error" && TEMPORARY.has(answer.code)) {
      this.#again.set(this.line.session.policy.backoffBaseMs + this.#backoff.next(), () => this.pump());
      return;
    }
    if (answer !== null) {
      // First: an answer that breaks the contract costs the connection, and is no answer.
      const error = answer.type === "error" ? letter.refusal(`${said(letter.command)}: ${answer.message}`, answer) : null;
      this.#backoff.reset();
      this.#letters.shift();
      this.#watch();
      if (error === null) letter.resolve(answer as Stored);
      else letter.reject(error);
    }
    this.pump();
  }

  #watch(): void {
    const letter = this.#letters[0];
    if (letter === undefined) {
      this.#giveUp.stop();
      this.emptied();
    } else this.#giveUp.set(letter.until - this.#now, () => this.#timeIsOver());
  }

  #timeIsOver(): void {
    const why = `no gateway stored it within ${GIVE_UP_MS / 1000} s`;
    for (const letter of this.#takeOut(this.#now)) letter.reject(unknown(letter, why));
    this.pump();
  }

  /** Those whose time is over by then. */
  #takeOut(until: number): Letter[] {
    const over = this.#letters.filter((letter) => letter.until <= until);
    this.#letters = this.#letters.filter((letter) => letter.until > until);
    this.#again.stop();
    this.#watch();
    return over;
  }
}

function said({ op, topic }: Command): string {
  return `${op} to ${String(topic)}`;
}

function unknown({ command, sent }: Letter, why: string): MdstreamError {
  return new MdstreamError(`${said(command)}: ${why}; it ${sent ? "may be stored or not" : "was not sent"}`, "unavailable");
}

function refused(message: string, { code }: Refused): MdstreamError {
  return new MdstreamError(message, code);
}

function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A copy that both formats can hold: what they cannot, and what would cost the connection, is refused here. */
function plain(command: Command, { welcome }: Line): Command {
  const text = JSON.stringify(command, (key, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError(`${key || "a value"} was ${value}`);
    return value;
  });
  if (HALF_PAIR.test(text)) throw new RangeError("a text has half a surrogate pair");
  const copy = JSON.parse(text) as Command;
  const bytes = Math.max(new TextEncoder().encode(text).length, msgpack.codec().encode(copy).length) + 32;
  const most = Number(welcome?.limits["max_message_bytes"] ?? 65_536);
  if (bytes > most) throw new MdstreamError(`${said(command)}: ${bytes} bytes, at most ${most}`, "bad_value");
  return copy;
}
