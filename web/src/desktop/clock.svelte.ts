/** The time, twice a second: for countdowns and rates, which change without any event. */
class Clock {
  now = $state(Date.now())

  run(): () => void {
    const timer = setInterval(() => (this.now = Date.now()), 500)
    return () => clearInterval(timer)
  }
}

export const wall = new Clock()
