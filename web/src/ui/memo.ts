import { type Attributes, Component, type ComponentChild, type FunctionComponent, h } from "preact";
import { alike } from "../model/value.js";

/** A component that is drawn again only when one of its properties is another one. */
export function memo<Props extends object>(inner: FunctionComponent<Props>) {
  return class extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      return !alike(this.props, next);
    }

    override render(): ComponentChild {
      return h(inner, this.props as Attributes & Props);
    }
  };
}
