/** Tabs as the ARIA Authoring Practices have them: arrows move, one panel is seen, each is made when first seen. */

import { el } from './dom';

export function tabs(labels: Record<string, () => HTMLElement>): HTMLElement {
  const names = Object.keys(labels);
  const made = new Map<string, HTMLElement>();
  let seen = '';
  const buttons = names.map((name) =>
    el('button', { type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': `panel-${name}`, onclick: () => open(name) }, name),
  );
  const panels = names.map((name) => el('div', { role: 'tabpanel', id: `panel-${name}`, 'aria-labelledby': `tab-${name}`, tabindex: -1, hidden: true }));
  const open = (name: string): void => {
    made.get(seen)?.dispatchEvent(new Event('left'));
    seen = name;
    if (!made.has(name)) {
      made.set(name, labels[name]());
      panels[names.indexOf(name)].append(made.get(name) as HTMLElement);
    }
    names.forEach((each, i) => {
      buttons[i].setAttribute('aria-selected', String(each === name));
      buttons[i].tabIndex = each === name ? 0 : -1;
      panels[i].hidden = each !== name;
    });
  };
  const move = (event: KeyboardEvent): void => {
    const to = { ArrowRight: 1, ArrowLeft: -1, Home: -names.indexOf(seen), End: names.length - 1 - names.indexOf(seen) }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (names.indexOf(seen) + to + names.length) % names.length;
    open(names[next]);
    buttons[next].focus();
  };
  open(names[0]);
  return el('div', {}, el('div', { role: 'tablist', 'aria-label': 'What to do', onkeydown: move }, ...buttons), ...panels);
}
