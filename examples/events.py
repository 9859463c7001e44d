"""Events: how far a ball flies against the drag of the air, and how high.

The flight ends at the ground, a terminal event; the top is an event on the way.
"""

import numpy as np

from parivp import solve_ivp


def flight(t, y, drag):
    x, height, vx, vz = y
    speed = np.sqrt(vx**2 + vz**2)
    return [vx, vz, -drag * speed * vx, -9.81 - drag * speed * vz]


def ground(t, y, drag):
    return y[1]


ground.terminal = True
ground.direction = -1  # not at the start, where the ball leaves the ground


def top(t, y, drag):
    return y[3]


def main():
    result = solve_ivp(
        flight,
        (0, np.inf),
        [0.0, 0.0, 30.0, 30.0],
        args=(0.01,),
        events=[ground, top],
        dense_output=True,
        rtol=1e-8,
        atol=1e-10,
    )
    print(result.message)
    print(f"lands after {result.t[-1]:.3f} s at {result.y[0, -1]:.2f} m")
    print(f"highest at {result.t_events[1][0]:.3f} s: {result.y_events[1][0, 1]:.2f} m")
    print(f"height after one second: {result.sol(1.0)[1]:.2f} m")


if __name__ == "__main__":
    main()
