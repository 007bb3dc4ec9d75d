/** An error as a sign of behaviour: its kind and first words without the numbers. What the other side said comes later in it. */
export function outcome(error: Error): string {
  return `${error.name}: ${error.message.replace(/[0-9]+/g, '#').slice(0, 36)}`;
}
