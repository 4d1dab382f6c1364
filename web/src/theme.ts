/** Light, dark, or as the system has it; the choice is kept where the browser allows it. */

const KEY = 'vaekit-theme';

export function theme(select: HTMLSelectElement): void {
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const apply = (): void => {
    const isDark = select.value === 'system' ? system.matches : select.value === 'dark';
    document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
    document.dispatchEvent(new Event('theme'));
  };
  select.value = stored() ?? 'system';
  system.addEventListener('change', apply);
  select.addEventListener('change', () => {
    try {
      localStorage.setItem(KEY, select.value);
    } catch {
      // a browser that keeps nothing shows the choice for as long as the page is open
    }
    apply();
  });
  apply();
}

function stored(): string | null {
  try {
    const kept = localStorage.getItem(KEY);
    return kept && ['system', 'light', 'dark'].includes(kept) ? kept : null;
  } catch {
    return null;
  }
}
