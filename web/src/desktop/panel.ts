/** What may stand beside the events. */
export type Panel = 'event' | 'actors' | 'workers'

export const TITLES: Readonly<Record<Panel, string>> = {
  event: 'Event',
  actors: 'Actors',
  workers: 'Workers',
}
