/**
 * Turns of the event loop.
 *
 * @module
 */

/** The part of the runtime's globals that some lack: pages the first, edge runtimes both. */
interface Turns {
  setImmediate?: (callback: () => void) => void;
  MessageChannel?: typeof MessageChannel;
}

/**
 * Lets timers, messages and input have their turn.
 *
 * `setImmediate` where it exists: Bun runs messages before timers, so that a chain of messages would
 * starve them. Pages have only messages; `setTimeout` would wait 4 ms there.
 */
export function turn(): Promise<void> {
  const { setImmediate, MessageChannel } = globalThis as Turns;
  if (setImmediate !== undefined) return new Promise((resolve) => setImmediate(() => resolve()));
  if (MessageChannel === undefined) return new Promise((resolve) => setTimeout(resolve, 0));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close(); // An open port would keep the process alive.
      resolve();
    };
    port2.postMessage(null);
  });
}
