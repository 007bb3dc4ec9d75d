/** What the orchestrator's parts need of a logger. Fastify's pino loggers satisfy it: one JSON object per line. */
export interface Log {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}
