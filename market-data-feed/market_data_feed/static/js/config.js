// The settings of the exchange that the page needs. Modules that import this one wait for them.
import { ask } from "./page.js";

export const config = await ask("/dashboard/config.json");
