// Light or dark: what the system says, until somebody chooses.

const system = matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set();

export const isDark = () => document.documentElement.dataset.theme === "dark";

export function toggleTheme() {
  const next = isDark() ? "light" : "dark";
  const asSystem = (next === "dark") === system.matches;
  try {
    if (asSystem) localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
  } catch {
    // Then it lasts until the page is loaded again.
  }
  set(next);
}

function set(theme) {
  document.documentElement.dataset.theme = theme;
  for (const watcher of watchers) watcher();
}

system.addEventListener("change", () => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // As above.
  }
  if (!chosen) set(system.matches ? "dark" : "light");
});

/** Calls back when the theme changes, for what is drawn; gives back what ends that. */
export function onTheme(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** The colour that a custom property has now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
