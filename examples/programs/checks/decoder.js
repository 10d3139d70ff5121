/**
 * The chat goes on as PyTorch does with the same weights, and a conversation of several turns as one
 * that is read at once.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { openChat } from "../decoder.js";

const folder = new URL("../../llama/model/", import.meta.url);

function assertSame(what, got, expected) {
  if (got !== expected) throw new Error(`${what}: ${got}, instead of ${expected}`);
}

/** What PyTorch has after each prompt, byte after byte. */
const { prompts } = JSON.parse(await readFile(new URL("reference.json", folder), "utf8"));
const chat = await openChat(folder, prompts.length);
const answers = await chat.say(prompts.map(({ prompt }) => prompt), { maxTokens: 24 });
for (const [at, { prompt, greedy }] of prompts.entries()) {
  // A line's end ends an answer.
  const [line] = greedy.slice(0, 24).split(/(?<=\n)/);
  assertSame(prompt, answers[at], line);
}

// A turn of one conversation while the others wait.
const turns = prompts.map((_, at) => at === 1 ? "And he said" : null);
const [before, second, after] = await chat.say(turns, { maxTokens: 12 });
assertSame("those who wait", before + after, "");
const again = await openChat(folder, 1);
const whole = prompts[1].prompt + answers[1] + turns[1];
assertSame("a second turn", second, (await again.say([whole], { maxTokens: 12 }))[0]);
await Promise.all([chat.close(), again.close()]);
