/** An error as a sign of behaviour: its kind and words without the numbers. */
export function outcome(error: Error): string {
  return `${error.name}: ${error.message.replace(/[0-9]+/g, '#').slice(0, 60)}`;
}
