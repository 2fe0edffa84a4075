// Before anything is painted, so that a dark page never flashes white. Nothing but this choice is kept in the browser.
"use strict";
(() => {
  try {
    const theme = localStorage.getItem("postern-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch { /* a browser that keeps nothing shows its own */ }
})();
