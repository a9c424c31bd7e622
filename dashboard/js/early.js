// Sets the theme before anything is painted.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // Storage may be forbidden; then the system's choice holds.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const known = chosen === "light" || chosen === "dark";
  document.documentElement.dataset.theme = known ? chosen : dark ? "dark" : "light";
})();
