/** Light, dark, or as the system has it; the choice is kept where the browser allows it. */

const KEY = 'vaekit-theme';

export function theme(select: HTMLSelectElement): void {
  const apply = (): void => {
    if (select.value === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
    document.dispatchEvent(new Event('theme'));
  };
  select.value = stored() ?? 'system';
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
