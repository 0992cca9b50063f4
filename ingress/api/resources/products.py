"""/v1/products"""

from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from db.ids import ProductId
from db.pages import Listed
from db.pool import Conn
from db.products import (
    NewProduct,
    Product,
    SkuTaken,
    VersionedProduct,
    change_product,
    create_product,
    delete_product,
    list_products,
    lock_product,
    product_with_sku,
    read_product,
)
from handlers.rules import products as rules
from ingress.api.fields import (
    Body,
    Money,
    NoBody,
    NoParameters,
    Paged,
    Parameters,
    RowId,
    unless_given,
    wrong,
)
from ingress.api.problems import Problem
from ingress.api.table import (
    DELETED,
    GONE,
    MADE,
    Answer,
    Call,
    Endpoint,
    Nothing,
    Page,
    page_of,
    there,
    versioned,
)

# ---- what is given and answered ------------------------------------------------------------------


def _ruled(problem: Any) -> AfterValidator:
    def checked(given: Any) -> Any:
        detail = problem(given)
        if detail is not None:
            raise wrong(detail)
        return given

    return AfterValidator(checked)


def _yes_or_no(given: Any) -> Any:
    if given not in ("true", "false"):
        raise wrong("neither true nor false")
    return given == "true"


Name = Annotated[
    str,
    _ruled(rules.name_problem),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": rules.NAME_CHARS}),
    Field(description="what customers read"),
]
Sku = Annotated[
    str,
    _ruled(rules.sku_problem),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": rules.SKU_CHARS}),
    Field(description="your own name for it, which orders take; no two products have the same"),
]
Price = Annotated[
    Money,
    _ruled(rules.price_problem),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "pattern": r"^[0-9]{1,16}(\.[0-9]{1,2})?$",
            "maxLength": 19,
            "minimum": 0,
        }
    ),
    Field(description="in your currency; null: it cannot be ordered"),
]
Description = Annotated[
    str,
    _ruled(rules.description_problem),
    WithJsonSchema({"type": "string", "maxLength": rules.DESCRIPTION_CHARS}),
]
ImageUrl = Annotated[
    str,
    _ruled(rules.image_url_problem),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": rules.IMAGE_URL_CHARS}),
    Field(description="https; it is stored and shown"),
]
Active = Annotated[bool, Field(description="false: it is kept, and not sold")]
Stock = Annotated[
    int,
    Field(
        ge=0,
        le=rules.STOCK_MAX,
        description="how many there are: orders take of it, `cancelled` brings it back; null: it is"
        " not counted",
    ),
]


class ProductMade(Body):
    name: Name
    sku: Sku | None = None
    price: Price | None = None
    description: Description | None = None
    image_url: ImageUrl | None = None
    is_active: Active = True
    stock: Stock | None = None


class ProductChange(Body):
    name: Name = unless_given()
    sku: Sku | None = None
    price: Price | None = None
    description: Description | None = None
    image_url: ImageUrl | None = None
    is_active: Active = unless_given()
    stock: Stock | None = None


class OfProduct(Parameters):
    product_id: RowId[ProductId]


class ProductsAsked(Paged):
    sku: Annotated[
        str | None,
        Field(max_length=rules.SKU_CHARS, description="the one with exactly this sku"),
    ] = None
    is_active: Annotated[
        bool | None,
        BeforeValidator(_yes_or_no),
        Field(description="those that are sold, or those that are not"),
    ] = None


# ---- work ----------------------------------------------------------------------------------------


def _taken(other: SkuTaken) -> Problem:
    return Problem(
        "already_exists",
        "You have a product with this sku: change that one, or give another sku.",
        product_id=other.by,
    )


def _shown(found: VersionedProduct, status: int = 200) -> Answer[Product]:
    return versioned(found.product, found.version, status)


async def _list(conn: Conn, call: Call[ProductsAsked, NoBody]) -> Answer[Page[Product]]:
    asked = call.parameters
    if asked.sku is None:
        return page_of(
            await list_products(conn, call.user_id, asked.is_active, asked.after, asked.limit)
        )
    product_id = await product_with_sku(conn, call.user_id, asked.sku)
    found = None if product_id is None else await read_product(conn, call.user_id, product_id)
    rows = [] if found is None else [found.product]
    if asked.is_active is not None:
        rows = [one for one in rows if one.is_active == asked.is_active]
    return page_of(Listed([r for r in rows if asked.after is None or r.id < asked.after], False))


async def _read(conn: Conn, call: Call[OfProduct, Any]) -> Answer[Product]:
    return _shown(there(await read_product(conn, call.user_id, call.parameters.product_id)))


async def _create(conn: Conn, call: Call[NoParameters, ProductMade]) -> Answer[Product]:
    body = call.body
    new = NewProduct(**{f.name: getattr(body, f.name) for f in fields(NewProduct)})
    made = await create_product(conn, call.user_id, new)
    if isinstance(made, SkuTaken):
        raise _taken(made)
    return _shown(there(await read_product(conn, call.user_id, made)), 201)


async def _locked(conn: Conn, call: Call[OfProduct, Any]) -> Product:
    product_id = call.parameters.product_id
    call.expect(there(await lock_product(conn, call.user_id, product_id)))
    return there(await read_product(conn, call.user_id, product_id)).product


async def _change(conn: Conn, call: Call[OfProduct, ProductChange]) -> Answer[Product]:
    was = await _locked(conn, call)
    now: dict[str, Any] = {f.name: getattr(was, f.name) for f in fields(NewProduct)}
    new = NewProduct(**(now | call.body.given()))
    taken = await change_product(conn, call.user_id, was.id, new)
    if taken is not None:
        raise _taken(taken)
    return await _read(conn, call)


async def _delete(conn: Conn, call: Call[OfProduct, NoBody]) -> Answer[Nothing]:
    product = await _locked(conn, call)
    await delete_product(conn, call.user_id, product.id)
    return GONE


ENDPOINTS = (
    Endpoint(
        name="list_products",
        method="GET",
        path="/products",
        permission="products:read",
        summary="Products, newest first",
        parameters=ProductsAsked,
        body=NoBody,
        answers=Page[Product],
        work=_list,
    ),
    Endpoint(
        name="create_product",
        method="POST",
        path="/products",
        permission="products:write",
        summary="Something that you sell; its currency is yours",
        parameters=NoParameters,
        body=ProductMade,
        answers=Product,
        work=_create,
        statuses=MADE,
        once=True,
        versioned=True,
        problems=("already_exists",),
    ),
    Endpoint(
        name="read_product",
        method="GET",
        path="/products/{product_id}",
        permission="products:read",
        summary="One product",
        parameters=OfProduct,
        body=NoBody,
        answers=Product,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_product",
        method="PATCH",
        path="/products/{product_id}",
        permission="products:write",
        summary="Changes what is given; orders that there are keep their names and prices",
        parameters=OfProduct,
        body=ProductChange,
        answers=Product,
        work=_change,
        versioned=True,
        problems=("already_exists",),
    ),
    Endpoint(
        name="delete_product",
        method="DELETE",
        path="/products/{product_id}",
        permission="products:write",
        summary="The product is gone; orders keep what they have of it",
        parameters=OfProduct,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        versioned=True,
    ),
)
