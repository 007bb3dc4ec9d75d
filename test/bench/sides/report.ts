/** How the processes of the two sides speak to the bench. */
import type { SideReport } from './orders.ts';

export function report(message: SideReport): void {
  process.send?.(message);
}

export function failed(error: unknown): void {
  report({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
}

/** Obeys the bench's orders, and ends when the bench is gone. */
export function obey<Order>(act: (order: Order) => void): void {
  process.on('message', (order: Order) => {
    try {
      act(order);
    } catch (error) {
      failed(error);
    }
  });
  process.on('disconnect', () => process.exit(0));
  report({ kind: 'ready' });
}
