import config from "./vite.config.js";

// The tests read the style sheets, which Vitest would leave empty.
export default { ...config, test: { css: true } };
