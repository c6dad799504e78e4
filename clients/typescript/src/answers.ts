import type { Answer, Id } from "./messages.js";

const MOST_WAITING = 1024;

/** What hears the answer to a command, or null where none is waited for any more. */
export type Answered = (answer: Answer | null) => void;

/** Who waits for the answers to commands. */
export class Answers {
  readonly #waiting = new Map<number, Answered>();

  wait(id: number, answered: Answered): void {
    this.#waiting.set(id, answered);
    // Many are answered by data alone, and so never taken out.
    const [oldest] = this.#waiting.keys();
    if (this.#waiting.size > MOST_WAITING) this.take(oldest!, null);
  }

  /** Whether somebody waited for it. */
  take(id: Id, answer: Answer | null): boolean {
    const answered = this.#waiting.get(id as number);
    this.#waiting.delete(id as number);
    answered?.(answer);
    return answered !== undefined;
  }

  giveUp(): void {
    const unanswered = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const answered of unanswered) answered(null);
  }
}
