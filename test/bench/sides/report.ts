/** How the processes of the two sides speak to the bench. */
import type { SideReport } from './orders.ts';

export function report(message: SideReport): void {
  process.send?.(message);
}

export function failed(error: unknown): void {
  report({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
}

/** Obeys the bench's orders once its threads are loaded, and ends when the bench is gone. */
export function obey<Order>(loaded: Promise<void>, act: (order: Order) => void): void {
  process.on('message', (order: Order) => {
    try {
      act(order);
    } catch (error) {
      failed(error);
    }
  });
  process.on('disconnect', () => process.exit(0));
  loaded.then(() => report({ kind: 'ready' }), failed);
}
