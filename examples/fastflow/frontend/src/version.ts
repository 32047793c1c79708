/** The version of Fast-Flow, as in server/config.py. */
export const VERSION = "1.0.0";
